"""What `processor report` says of that state: findings, text, a page with plots. It computes no state of its own."""
