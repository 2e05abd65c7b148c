from haystack.workflow import calm_scheduler, open_plan, warm_scripts, write_summary_of_failures

plan = open_plan(config, workflow)


wildcard_constraints:
    run_id=plan.run_pattern,
    atlas=plan.atlas_pattern,
    iteration=r"[1-9]\d*",
