"""The two Feast store classes; each can be used without the other, by any Feast project."""
