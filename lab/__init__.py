"""The embedded world for one machine, started as processes: the effects backend and the clips it works on."""
