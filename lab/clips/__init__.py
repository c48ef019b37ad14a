"""Real clips for the lab: slow pans over real photographs, made at run time and the same on every run."""

from lab.clips.library import Clip, make_clips

__all__ = ["Clip", "make_clips"]
