"""What runs inside the sandbox, and how its image is made. Standard library only."""
