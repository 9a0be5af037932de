"""Every bound in one place, with its reason. Sizes in bytes, times in seconds."""

NAME_BYTES_MAX = 255
"""What Linux, macOS and Windows file systems hold in one component."""
PATH_BYTES_MAX = 16 * 1024
"""Far beyond what PATH_MAX lets programs reach by name; directories are walked by descriptor."""

MTIME_NANOSECONDS_MIN = -(2**63)
MTIME_NANOSECONDS_MAX = 2**64 - 1
"""The times a message can carry: the years 1677 to 2554."""

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""A batch of inlined contents and its entries; checked before anything is buffered."""
INLINE_BYTES_MAX = 64 * 1024
"""Content up to this size travels inside the message about it."""
BATCH_BYTES_MAX = 2 * 1024 * 1024
"""Inlined content of one message; well below FRAME_BYTES_MAX."""
BATCH_ACTIONS_MAX = 256
"""Actions of one apply: the knee of the durability measurements (one sync per batch)."""
CHUNK_BYTES = 256 * 1024
"""Content of one bulk frame: the largest write at which TLS still runs at full speed."""
PENDING_INLINE_BYTES_MAX = 64 * 1024 * 1024
"""Inlined contents the coordinator keeps for paths it has not handled yet; beyond it they are fetched again."""

INVENTORY_BYTES_MAX = 4 * 1024 * 1024 * 1024
"""Names, and 160 bytes for each, of what one inventory may send: some 20 million paths; a peer may list without end."""

HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 8.0
"""Without any frame for this long the far end counts as lost (promised: found within 10 s)."""
HANDSHAKE_SECONDS = 5.0
CONNECT_RETRY_FIRST_SECONDS = 0.1
CONNECT_RETRY_MAX_SECONDS = 2.0
CONNECTIONS_MAX = 150
"""Connections that one server has let in at a time, all peers together: a hundred clients at once are answered."""
STRANGERS_MAX = 150
"""Connections that have not proven the credential yet; one more breaks the oldest off, so nobody is kept out."""

READY_SECONDS = 2.0
"""How long a server that starts waits for its first look at everything before it says that it is ready."""
INVENTORY_SECONDS = 5.0
"""How long an inventory waits for what is still to be read; the rest is named as unread, and follows as reports."""
LISTING_SECONDS = 2.0
"""How long a listing waits for B."""
HOLD_TOLD_SECONDS = 1.0
"""How long `-lock` and `-unlock` wait for B: neither needs it, but what B is doing now is in its order then."""
CLIENT_SECONDS = 10.0
"""How long a client waits for A."""
SHUTDOWN_SECONDS = 1.5
"""What has not ended by then is left behind; the state is crash-safe."""

VANISH_GRACE_SECONDS = 0.02
"""A name that vanished is looked at again after this: programs that save by renaming put it back within it."""
VANISH_WALK_SECONDS_MAX = 1.0
"""How much longer it may turn up in a directory that is being walked through: a renamed one, for all that is known."""
UNSETTLED_QUIET_SECONDS = 1.0
"""A file that stays open for writing, but quiet this long, is taken as it is."""
UNSETTLED_SAMPLE_SECONDS = 3.0
"""A writer that never pauses and only appends is sampled this often."""
UNSETTLED_NOTICE_SECONDS = 2.0
"""When a file that waits for its writer is announced."""
RACY_NANOSECONDS = 20_000_000
"""A stat this close to the last change proves nothing (kernel ticks are up to 10 ms): the content decides."""
WRITTEN_OUT_SECONDS = 60
"""What was written so long ago is on the disk even if nobody synced it (Linux begins after 30 s, and looks every 5)."""

SCAN_INTERVAL_SECONDS = 4.0
SCAN_DURATION_FACTOR = 500
SCAN_DURATION_FACTOR_BLIND = 100
"""The background scan runs every max(interval, factor x its own duration); oftener while the watcher is not proven."""
BURST_HINTS = 4_000
"""So many hints at once may have overflowed a queue: scan."""

HELD_BYTES_MIN = 512
"""What a held state counts at least, about what its row takes: so the limit of their size bounds their number too."""

KEPT_BYTES_MIN = 4096
"""What a kept version counts at least: so the limit of their size bounds their number too."""
KEPT_CLEARED_AT_ONCE = 256
"""Kept versions that are given up in one transaction."""

RETRY_FIRST_SECONDS = 0.5
RETRY_MAX_SECONDS = 30.0
"""A file that failed is tried again within these."""

JOURNAL_EVENTS_MAX = 10_000
"""Notifications A remembers for `dirsync events`."""
SUBSCRIBER_EVENTS_MAX = 10_000
"""Notifications waiting for one slow follower; beyond it the follower is dropped, never the server slowed."""
CLOCK_DIFFERENCE_SECONDS = 2.0
