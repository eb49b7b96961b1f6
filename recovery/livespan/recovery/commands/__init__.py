"""Recovery's commands of `livespan`: one module a command, and what two of them share."""
