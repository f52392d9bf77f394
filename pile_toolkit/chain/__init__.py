"""What joins the packages: the whole chain from one file, and the functions that need more than one of them."""
