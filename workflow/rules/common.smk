from haystack.workflow import open_plan, write_summary_of_failures

plan = open_plan(config, check=workflow.is_main_process)


wildcard_constraints:
    run_id=plan.run_pattern,
    atlas=plan.atlas_pattern,
    iteration=r"[1-9]\d*",
