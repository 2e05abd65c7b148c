"""What the pipeline takes (`python -m benchmarks`) and how right it is (the scripts of this folder)."""
