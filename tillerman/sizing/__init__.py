"""What a model needs: sizes from names, flags and labels, as intervals with what was assumed."""
