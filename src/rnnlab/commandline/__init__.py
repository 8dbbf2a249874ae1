"""From the words typed to checked settings: composition, help, completion, one-line errors. No torch."""
