"""The CPU engine: C++ behind a plain C interface (src/), compiled by build, loaded by library, called by engine."""
