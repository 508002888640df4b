"""How anything is timed, described and recorded."""
