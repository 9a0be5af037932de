"""asyncio streams over TLS; decides nothing."""
