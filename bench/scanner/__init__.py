"""How often the scanner of tool definitions is wrong about honest servers."""
