"""One short file a verb: `run(request)` for the composed ones, `main(argv)` for the rest; both return an exit code."""
