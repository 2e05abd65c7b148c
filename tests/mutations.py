"""Small faults in the source, each of which a test must notice: `make mutations`.

A mutation is one text in one file, another text in its place, and the test that must then fail. Each test passes
without its mutation. Everything happens in a copy of `src`, beside the real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in `src/haystack/{path}`; `test` must fail."""

    path: str
    old: str
    new: str
    test: str


PROMPTS, FILES = "tests/unit/prompting/test_prompts.py", "tests/unit/grounding/test_ground_files.py"
PAIRING, RANKING = "tests/unit/retrieval/test_pairing.py", "tests/unit/retrieval/test_ranking.py"
REFINEMENT, CHOICE = "tests/unit/loop/test_refinement.py", "tests/unit/loop/test_choice.py"

MUTATIONS = [
    # How long a verified token is remembered.
    Mutation(
        "api/identity.py",
        "REMEMBERED_FOR = 60.0",
        "REMEMBERED_FOR = 600.0",
        "tests/api/test_api_identity.py::test_a_verified_token_is_remembered_for_a_minute",
    ),
    Mutation(
        "api/identity.py",
        'until = min(float(claims["exp"]), self._now() + REMEMBERED_FOR)',
        "until = self._now() + REMEMBERED_FOR",
        "tests/api/test_api_identity.py::test_a_remembered_token_expires",
    ),
    # What a rule's hash covers.
    Mutation(
        "codehash.py",
        "kept = [item for item in body if not _is_doc(item)]",
        "kept = body",
        "tests/unit/test_codehash.py::test_a_docstring_changes_nothing_and_a_number_does",
    ),
    Mutation(
        "codehash.py",
        'todo += [(plugin, "*") for plugin in _plugins().get(name[1:], [])]',
        "pass",
        "tests/unit/test_codehash.py::test_plug_ins_count_for_the_rules_that_use_their_registry",
    ),
    # A cancelled run predicts no more.
    Mutation(
        "workflow/scripts.py",
        'if snakemake.rule == "stack_inference" and cancelled.exists():',
        "if False:",
        "tests/unit/workflow/test_scripts.py::test_a_cancelled_run_predicts_no_more",
    ),
    # Which control cells a prompt gets, and from how far.
    Mutation(
        "prompting/choose.py",
        "control = sample_alike(self._free(of).without(used), chosen, len(chosen), rng)",
        "control = sample_alike(self._free(of), chosen, len(chosen), rng)",
        f"{PROMPTS}::test_sets_that_share_a_control_set_share_no_control_cell",
    ),
    Mutation(
        "prompting/choose.py",
        "controls_used[of] = np.concatenate([used, control.rows])",
        "controls_used[of] = control.rows",
        f"{PROMPTS}::test_sets_that_share_a_control_set_share_no_control_cell",
    ),
    Mutation(
        "prompting/choose.py",
        "self.ranker.penalise_similar(self.ranker.features[position])",
        "pass",
        f"{PROMPTS}::test_diversity_shows_another_type_beside_the_best",
    ),
    Mutation(
        "retrieval/pairing.py",
        "NEAR_TYPE_HOPS = 2",
        "NEAR_TYPE_HOPS = 3",
        f"{PAIRING}::test_a_near_type_is_at_most_two_steps_away",
    ),
    Mutation(
        "retrieval/pairing.py",
        "NEAR_TYPE_HOPS = 2",
        "NEAR_TYPE_HOPS = 1",
        f"{PAIRING}::test_a_near_type_is_at_most_two_steps_away",
    ),
    Mutation(
        "retrieval/pairing.py",
        "return (-relation.closeness, lost)",
        "return (lost, -relation.closeness)",
        f"{PAIRING}::test_of_near_types_the_nearer_then_the_one_that_gives_up_less",
    ),
    Mutation(
        "retrieval/pairing.py",
        "return (-relation.closeness, lost)",
        "return (-relation.closeness, 0.0)",
        f"{PAIRING}::test_of_near_types_the_nearer_then_the_one_that_gives_up_less",
    ),
    Mutation(
        "retrieval/pairing.py",
        '    ("atlas", "cell type", "donor"),\n',
        "",
        f"{PAIRING}::test_constraints_are_given_up_in_order_and_recorded",
    ),
    Mutation(
        "retrieval/ranking.py",
        '"donor_id": 0.25',
        '"donor_id": 0.2',
        f"{RANKING}::test_what_differs_in_one_field_only_is_little_diverse",
    ),
    Mutation(
        "retrieval/ranking.py",
        "self.weights[1] * diversity",
        "self.weights[2] * diversity",
        f"{RANKING}::test_what_differs_in_one_field_only_is_little_diverse",
    ),
    # What counts as evidence, and which prompt is the best.
    Mutation(
        "grounding/ground.py",
        "abs(change[gene]) < 2 * abs(moved[gene])",
        "abs(change[gene]) < 1 * abs(moved[gene])",
        f"{FILES}::test_genes_move_more_than_the_model_errs_from_twice_its_error_on",
    ),
    Mutation(
        "grounding/ground.py",
        "abs(change[gene]) < 2 * abs(moved[gene])",
        "abs(change[gene]) <= 2 * abs(moved[gene])",
        f"{FILES}::test_genes_move_more_than_the_model_errs_from_twice_its_error_on",
    ),
    Mutation(
        "grounding/case.py",
        "expectation_of(self.query.asked) if self.expectation else None",
        "None",
        "tests/unit/grounding/test_ground_cells.py::test_the_asked_perturbation_is_a_rival_of_what_its_null_asks_for",
    ),
    Mutation(
        "loop/choice.py",
        "or 0, -found.index(item)))",
        "or 0, found.index(item)))",
        f"{CHOICE}::test_the_first_of_equally_good_prompts_is_the_best",
    ),
    Mutation(
        "loop/choice.py",
        "[item.prompt_id], found.index(item)))",
        "[item.prompt_id], -found.index(item)))",
        f"{CHOICE}::test_the_first_of_equally_good_prompts_is_the_best",
    ),
    # What the next iteration does differently, and when the loop ends.
    Mutation(
        "loop/refinement.py",
        "WEAK = 7.0",
        "WEAK = 6.5",
        f"{REFINEMENT}::test_a_component_is_weak_below_seven",
    ),
    Mutation(
        "grounding/components/target_activation.py",
        'float(details["factor"]) < 0.5',
        'float(details["factor"]) < 0.4',
        f"{REFINEMENT}::test_a_rival_is_avoided_where_it_takes_more_than_half",
    ),
    Mutation(
        "loop/refinement.py",
        "MAX_ADDED = 0.45",
        "MAX_ADDED = 0.6",
        f"{REFINEMENT}::test_what_is_added_to_a_relevance_has_a_limit",
    ),
    Mutation(
        "loop/decision.py",
        "values = [1.0 if score.composite_value is None",
        "values = [0.0 if score.composite_value is None",
        "tests/unit/loop/test_decision.py::test_reason",
    ),
]


def passes(tests: Iterable[str], source: Path) -> bool:
    """Whether tests pass with the package in `source`; no such test is an error."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        # Bytecode of a mutated file must not outlive the mutation.
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{tests}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> int:
    """Try all mutations, or those of the files named as arguments; 1 if one survives."""
    wanted = [mutation for mutation in MUTATIONS if not sys.argv[1:] or mutation.path in sys.argv[1:]]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(REPOSITORY / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        # The package reads its tables beside `src`.
        (Path(folder) / "resources").symlink_to(REPOSITORY / "resources")
        tests = list(dict.fromkeys(mutation.test for mutation in wanted))
        if not passes(tests, source):
            faults += [f"{test}: fails without any mutation" for test in tests if not passes([test], source)]
        for mutation in wanted:
            path = source / "haystack" / mutation.path
            text = path.read_text(encoding="utf-8")
            if text.count(mutation.old) != 1:
                faults.append(
                    f"{mutation.path}: `{mutation.old}` stands there {text.count(mutation.old)} times, not once"
                )
                continue
            path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
            survived = passes([mutation.test], source)
            path.write_text(text, encoding="utf-8")
            print(
                f"{'SURVIVED' if survived else 'killed'}  {mutation.path}: {mutation.old} -> {mutation.new}", flush=True
            )
            if survived:
                faults.append(
                    f"{mutation.path}: `{mutation.new}` in place of `{mutation.old}` survives {mutation.test}"
                )
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
