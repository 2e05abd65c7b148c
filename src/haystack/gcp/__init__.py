"""Google Cloud: coordinator jobs on Batch, storage, and errors that say what to do."""
