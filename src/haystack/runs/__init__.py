"""The service that keeps, starts and watches runs, and tables made from lists (`haystack runs expand`)."""
