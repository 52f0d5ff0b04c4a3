"""How PostgreSQL is to plan searches, whose filters differ from one to the next."""

from __future__ import annotations

from sqlalchemy import func, select

# A generic plan cannot know how much a filter selects or how long the page is; planning takes about a millisecond.
# The memory is for the hash joins of searches over everything. One search does not take every core, and starting
# workers takes longer than most searches. The indexes that a search reads are in memory or on a disk without arms.
PLANNER_SETTINGS = select(
    func.set_config("plan_cache_mode", "force_custom_plan", True),
    func.set_config("work_mem", "32MB", True),
    func.set_config("max_parallel_workers_per_gather", "0", True),
    func.set_config("random_page_cost", "1.1", True),
)
"""Run first in the transaction of a search: the settings hold until it ends."""
