"""Pictures that show a blur, or many results side by side."""
