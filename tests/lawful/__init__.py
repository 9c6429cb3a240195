"""No false denials: containers that do lawful work notice nothing of the agent, and nothing is counted against them."""
