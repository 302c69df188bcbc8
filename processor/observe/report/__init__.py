"""The output of `processor report`: findings, text, a page with plots. It reads the state from a `Watch`."""
