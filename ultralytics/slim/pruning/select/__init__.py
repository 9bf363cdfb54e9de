"""What goes: pools of units that are alike, their narrowings, and the goal that ends them."""
