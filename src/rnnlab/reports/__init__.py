"""What a finished run looks like: its curves read back, drawn in a terminal or as SVG, and pages of HTML. No torch."""
