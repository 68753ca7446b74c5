//! What happens by itself: process managers that follow the log and send commands.
