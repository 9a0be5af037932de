"""Two real servers, many programs writing at both sides, and everything going wrong, for as long as one likes.

`make chaos MINUTES=30` runs it. `driver` is the run, `values` what is written and how a loss is recognised, `writers`
the programs, `nemesis` the faults, `observer` a reader that must never see half a file.
"""
