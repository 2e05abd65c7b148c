"""Settings with units and defaults. Unknown keys are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from haystack.contracts.base import explain, field_path
from haystack.contracts.query import GENETIC_EFFECTS, ControlStrategy, PerturbationType
from haystack.errors import ConfigError, suggest
from haystack.presets import PRESETS, with_preset
from haystack.specs import COMPONENTS, MODELS, STRATEGIES, TaskKind

Weight = Annotated[float, Field(ge=0)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Section(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ObsColumns(Section):
    """obs columns by content. Null: not recorded in the atlas."""

    cell_type: str | None = None
    """author labels or Cell Ontology ids of the cell types; null only with constants.cell_type"""
    perturbation: str | None = None
    """perturbation of the cells, including control labels"""
    structure: str | None = None
    """chemical structure (SMILES) of the perturbation; kept in mapping.tsv for drugs that no name resolves"""
    genetic_effect: str | None = None
    """how the gene was changed in each cell (knock-out, CRISPRi, CRISPRa, ORF), where an atlas holds several ways"""
    donor: str | None = None
    """donor of the cells"""
    tissue: str | None = None
    """tissue of the cells"""
    disease: str | None = None
    """disease of the donor"""
    condition: str | None = None
    """dose, time, batch or other condition of the sample"""
    age: str | None = None
    """age or age group of the donor"""
    sex: str | None = None
    """sex of the donor"""
    n_genes: str | None = None
    """genes with a count per cell, for ranking by depth; see also read_counts"""
    total_counts: str | None = None
    """counts per cell"""


class AtlasEntry(Section):
    """One atlas of `config/atlases.yaml`."""

    path: str
    """h5ad or zarr, a path or a gs:// URI; `{data_dir}` is replaced by the setting of that name"""
    preset: Literal[tuple(PRESETS)] | None = None  # type: ignore[valid-type]
    """columns, control labels and constants of a public atlas; values of the entry itself take precedence"""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """URL from which the file can be downloaded (rule download_atlas); null: it exists already"""
    checksum: str | None = Field(default=None, pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")
    """`md5:` or `sha256:` and the digest of the file, if published; checked after the download"""
    description: str = ""
    """one sentence for reports"""
    obs: ObsColumns = ObsColumns()
    constants: dict[Literal["cell_type", "tissue", "disease", "donor", "condition", "sex", "age"], str] = {}
    """labels of all cells that obs does not record (for example tissue: blood)"""
    control_labels: list[str] = []
    """values of obs.perturbation that mean control (PBS, DMSO, ctrl); `*` matches any text (non-targeting*), nan
    matches cells without a label
    """
    perturbation_names: dict[str, str] = {}
    """meaning of labels of obs.perturbation that are not names themselves (stim: IFN-beta)"""
    perturbation_type: PerturbationType | None = None
    """kind of perturbation in obs.perturbation; null for an atlas without perturbations"""
    genetic_effect: Literal[tuple(GENETIC_EFFECTS)] | None = None  # type: ignore[valid-type]
    """effect on the genes named in obs.perturbation: knock-out and CRISPRi lose, CRISPRa and ORF gain them"""
    gene_symbols: str | None = None
    """var column with gene symbols; null: var_names are symbols"""
    counts_layer: str = "X"
    """location of the raw counts: X, raw, or the name of a layer"""
    counts: Literal["raw", "expected"] = "raw"
    """raw: whole numbers, others are refused; expected: estimates that need not be whole (alevin, RSEM, SoupX,
    CellBender),
    rounded to whole numbers when cells are read"""
    read_counts: bool = False
    """true: count genes and counts of every cell from the matrix once, in blocks (reads the whole matrix)"""
    mapping: str | None = None
    """TSV with corrected labels (kind, label, id); its rows take precedence over the resolver"""
    simulated: bool = False
    """true: made by the demo rules of this pipeline; shown as a simulation everywhere"""

    @model_validator(mode="before")
    @classmethod
    def _filled_by_preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") in PRESETS:
            return with_preset(data)
        return data

    @field_validator("control_labels", mode="before")
    @classmethod
    def _labels_as_text(cls, labels: Any) -> Any:
        """Numbers, booleans and null as the labels that cells have: 0 -> '0', .nan and null -> 'nan'."""
        return [_label(label) for label in labels] if isinstance(labels, list) else labels

    @field_validator("path", "mapping")
    @classmethod
    def _home(cls, path: str | None) -> str | None:
        return str(Path(path).expanduser()) if path and path.startswith("~") else path

    @model_validator(mode="after")
    def _cell_types_are_known(self) -> AtlasEntry:
        if self.obs.cell_type is None and not self.constants.get("cell_type"):
            raise ValueError(
                "give obs.cell_type, the obs column with cell types, or constants.cell_type where all cells are of one"
            )
        return self

    @model_validator(mode="after")
    def _controls_are_named(self) -> AtlasEntry:
        if self.obs.perturbation and not self.control_labels:
            raise ValueError("an atlas with obs.perturbation must list its control_labels")
        return self


def _label(label: Any) -> Any:
    if label is None or label != label:
        return "nan"
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if whole else label) if isinstance(label, bool | int | float) else label


class CellFilter(Section):
    """Cells that match every given key (names, ids, or original labels; `cell_type` includes subtypes)."""

    atlas: str | None = None
    """name of the atlas"""
    cell_type: list[str] = []
    """labels, names or CL ids; includes subtypes"""
    perturbation: list[str] = []
    """labels or names; a control label selects the control cells"""
    donor: list[str] = []
    """labels of donors"""
    tissue: list[str] = []
    """labels, names or UBERON ids"""
    disease: list[str] = []
    """labels, names or MONDO ids"""
    share: float = Field(default=1.0, gt=0, le=1)
    """share of the matching cells that is selected, always the same ones (by a hash of their row)"""

    @model_validator(mode="after")
    def _not_everything(self) -> CellFilter:
        if not (self.atlas or self.cell_type or self.perturbation or self.donor or self.tissue or self.disease):
            raise ValueError("an empty filter would exclude every cell")
        return self


class QuerySettings(Section):
    """Parsing of questions."""

    strict: bool = True
    """true: refuse a question of the run table before the start if a word is unread, guessed or ambiguous"""
    llm: str | None = None
    """provider:model that may propose a parse (extra `llm`), such as anthropic:claude-sonnet-4-5; null: rules only"""
    llm_base_url: str | None = None
    """an OpenAI-compatible endpoint that serves the model of `llm`, for example http://localhost:11434/v1"""


class RetrievalSettings(Section):
    """Finding and ranking of cell sets."""

    strategies: list[str] | None = None
    """names of strategies (direct, mechanistic, semantic, ontology, donor_context, tissue_atlas, or of a plug-in);
    null: those that fit the task type"""
    max_hops: int = Field(default=3, ge=0, le=10)
    """Cell Ontology steps of the ontology strategy at most"""
    min_cells: int = Field(default=20, ge=1)
    """least number of cells of a cell set"""
    weight_relevance: float = Field(default=0.5, ge=0, le=1)
    """weight of relevance to the question in a prompt's rank"""
    weight_diversity: float = Field(default=0.3, ge=0, le=1)
    """weight of the difference from prompts chosen before"""
    weight_quality: float = Field(default=0.2, ge=0, le=1)
    """weight of cell count, depth and matched control"""
    exclude: list[CellFilter] = []
    """hold-outs: cells that match any of these are never prompt, control or query cells, nor used in training"""

    @model_validator(mode="after")
    def _known_strategies(self) -> RetrievalSettings:
        for name in self.strategies or []:
            STRATEGIES.check(name, "retrieval.strategies")
        return self


class PromptingSettings(Section):
    """Selection of cells from the chosen sets."""

    prompt_cells: int = Field(default=128, ge=1)
    """prompt cells per prompt"""
    query_cells: int = Field(default=256, ge=1)
    """query cells per run"""
    min_control_cells: int = Field(default=10, ge=1)
    """with fewer control cells the prompt falls back to query_as_control"""


class TransferSettings(Section):
    """Combination of measured responses (`transfer`)."""

    max_cells: int = Field(default=500, ge=20)
    """cells read per context and arm at most; more give a more stable estimate and take longer to read"""


class ExamSettings(Section):
    """Test of the model on measured contexts."""

    contexts: int = Field(default=1, ge=0, le=5)
    """measured contexts of the perturbation that the model also predicts in the first iteration's inference job, with
    their cells kept out of the prompt; each costs as much as one more prompt; 0: none
    """


class TrainSettings(Section):
    """Training of a small STACK on harmonised atlases (`haystack model train`, rule train_model)."""

    atlases: list[str]
    """names of the atlases; at least one with perturbations, the others contribute their cell types"""
    n_genes: int = Field(default=2000, ge=50)
    """most variable genes kept (Pearson residuals of training cells), in addition to always_genes"""
    always_genes: list[str] = []
    """symbols kept whatever their variance"""
    n_hidden: int = Field(default=16, ge=1)
    """gene programmes: tokens per cell"""
    token_dim: int = Field(default=8, ge=1)
    """width of a token"""
    n_layers: int = Field(default=3, ge=1)
    """attention layers"""
    n_heads: int = Field(default=4, ge=1)
    """attention heads"""
    n_cells: int = Field(default=128, ge=8)
    """positions of the model's window"""
    steps: int = Field(default=400, ge=1)
    """optimiser steps"""
    batch_size: int = Field(default=8, ge=1)
    """windows per step"""
    learning_rate: float = Field(default=7e-4, gt=0)
    """peak of the cosine schedule, reached after 20 steps"""
    patience: int = Field(default=3, ge=1)
    """validations (every 100 steps) without a lower loss after which training stops"""
    control_windows: float = Field(default=0.15, ge=0, le=1)
    """share of windows with control prompts, in which nothing changes"""
    synthetic_windows: float = Field(default=0.3, ge=0, le=1)
    """share of windows with a synthetic perturbation, to learn to copy unseen changes"""
    cells_per_set: int = Field(default=200, ge=10)
    """cells read per perturbation, cell type and donor of each atlas"""
    start: str | None = None
    """model folder to fine-tune; its genes and shape replace those given here"""
    exclude: list[CellFilter] = []
    """further hold-outs of training, in addition to retrieval.exclude"""


class ModelDownload(Section):
    """A checkpoint on the Hugging Face hub (rule download_stack_model, `haystack model download`)."""

    repository: str = "arcinstitute/Stack-Large-Aligned"
    """owner/name"""
    revision: str = Field(pattern="^[0-9a-f]{40}$")
    """commit of the repository, 40 hexadecimal digits, because a branch or tag may change"""
    checkpoint: str = "bc_large_aligned.ckpt"
    """file name of the checkpoint"""
    genes: str = "basecount_1000per_15000max.pkl"
    """file name of the gene list"""
    checkpoint_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """any other checkpoint is refused"""
    genes_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """any other gene list is refused"""


class ModelSettings(Section):
    """The predicting model and its settings."""

    kind: str = "stack"
    """stack, transfer (measured responses combined; needs no weights), best (transfer, unless a held-out test shows
    STACK to be better), a baseline (no_change, prompt_mean, additive), or a model of a plug-in
    """
    name: str = "demo_tiny"
    """folder in results/model of a trained or downloaded model, and its name in reports"""
    path: str | None = "resources/demo/model"
    """folder with model.safetensors, config.json, genes.txt, provenance.json, also gs://bucket/folder, which is
    copied to results/model/{name}; null: results/model/{name}, from train or download"""
    train: TrainSettings | None = None
    """train the model by the pipeline; needs path: null"""
    download: ModelDownload | None = None
    """download the model from the Hugging Face hub; needs path: null and offline: false"""
    steps: int = Field(default=5, ge=1, le=50)
    """T, steps of the mask-diffusion schedule"""
    prompt_ratio: float = Field(default=0.25, gt=0, lt=1)
    """share of the window for prompt cells"""
    context_ratio: float = Field(default=0.4, ge=0, lt=1)
    """share of the window for further prompt cells in the last step"""
    context_ratio_min: float = Field(default=0.2, ge=0, lt=1)
    """the same in the first step"""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """fp32; tf32 (rounds the factors of products on a CUDA device); bf16 (slow on processors without units for it)"""
    device: str = "auto"
    """auto (the first CUDA device that passes a check, else cpu), cpu, cuda, cuda:1, mps (no test has run there)"""
    batch_size: int = Field(default=8, ge=1)
    """windows per forward pass; halved if memory is insufficient"""
    generations: int = Field(default=1, ge=1, le=20)
    """generations averaged over seeds"""

    @model_validator(mode="after")
    def _one_source(self) -> ModelSettings:
        given = [source for source in (self.path, self.train, self.download) if source is not None]
        if MODELS.get(self.kind, "model.kind").weights and len(given) != 1:
            raise ValueError(
                "give one of model.path (a finished model), model.train, model.download; the last two need path: null"
            )
        return self

    @property
    def is_remote(self) -> bool:
        """Whether `path` is an address from which the model is copied first."""
        return self.path is not None and "://" in self.path


class DESettings(Section):
    """Differential expression of generated cells."""

    test: Literal["wilcoxon", "t-test"] = "wilcoxon"
    """wilcoxon (rank sum, tie corrected) or t-test (Welch)"""
    correction: Literal["benjamini-hochberg", "bonferroni"] = "benjamini-hochberg"
    """for testing many genes: benjamini-hochberg or bonferroni"""
    log2fc: float = Field(default=0.5, ge=0)
    """least absolute log2 fold change of CP10k means of a called gene"""
    lfsr: float = Field(default=0.05, gt=0, lt=0.5)
    """largest local false sign rate of a called gene"""
    padj: float = Field(default=0.05, gt=0, le=1)
    """largest adjusted p-value of a DE gene of measured cells (validation, nulls)"""
    min_cells: int = Field(default=10, ge=2)
    """least number of cells per group for a test"""
    pseudocount: float = Field(default=1.0, gt=0)
    """c of log2((mean CP10k + c) / (mean CP10k + c))"""


class EnrichmentSettings(Section):
    """Gene set enrichment and TF activity."""

    enabled: bool = True
    """false: no gene sets and TF activities; components that need them are not evaluated"""
    libraries: dict[str, str] = {"haystack": "resources/genesets/haystack.gmt"}
    """name -> GMT file with human symbols, or a library by name: enrichr:Reactome_Pathways_2024, msigdb:h.all (fetched
    once into results/genesets with offline: false)"""
    regulons: str | None = "resources/knowledge/regulons.csv"
    """CollecTRI-format CSV (source, target, weight) for TF activity; null: not evaluated"""
    min_size: int = Field(default=5, ge=1)
    """least number of genes of a set within the background"""
    max_size: int = Field(default=500, ge=1)
    """largest number of genes of a set within the background"""
    padj: float = Field(default=0.05, gt=0, le=1)
    """largest adjusted p-value of an enriched set"""
    gsea_sets: int = Field(default=30, ge=0)
    """size of the shortlist for pre-ranked GSEA; 0: none"""
    gsea_permutations: int = Field(default=200, ge=0)
    """permutations of pre-ranked GSEA"""

    @model_validator(mode="after")
    def _without_tables(self) -> EnrichmentSettings:
        if not self.enabled:
            self.libraries, self.regulons = {}, None
        return self


SPECIFICATION = {
    "pathway_coherence": 0.25,
    "target_activation": 0.30,
    "literature_support": 0.25,
    "network_coherence": 0.20,
    "measured_support": 0.0,
}
"""weights of the original specification"""


class GroundingSettings(Section):
    """Scoring of evidence."""

    profile: Literal["calibrated", "specification"] = "calibrated"
    """calibrated: evidence counted once, support from cells outside the prompt, three verdicts, a value that is a
    probability; specification: weights 0.25, 0.30, 0.25, 0.20 as originally specified, and their mean
    """
    weights: dict[str, Weight] = {}
    """weights of components for the question; components not named keep those of the profile, 0 disables one"""
    permutations: int = Field(default=200, ge=20)
    """random draws for nulls and p-values"""
    network: str | None = None
    """edge list TSV (gene, gene) for network coherence; null: edges of the gene set libraries"""

    @model_validator(mode="after")
    def _all_weights(self) -> GroundingSettings:
        for name in self.weights:
            COMPONENTS.check(name, "grounding.weights")
        default = SPECIFICATION if self.profile == "specification" else {}
        self.weights = {
            spec.name: self.weights.get(spec.name, default.get(spec.name, spec.weight)) for spec in COMPONENTS
        }
        return self

    def weights_of(self, task: TaskKind) -> dict[str, float]:
        """Weights of the components for a kind of question, in order."""
        return {spec.name: self.weights[spec.name] for spec in COMPONENTS if task in spec.tasks}


class ValidationSettings(Section):
    """Measured cells to compare the prediction with. Both are hold-outs like `retrieval.exclude`."""

    perturbed: CellFilter
    """cells under the condition of the question"""
    control: CellFilter
    """their control cells; with a `share`, so that other control cells remain for the query"""


class LiteratureSettings(Section):
    """Literature search. Off by default. Keys are read from NCBI_API_KEY, SEMANTIC_SCHOLAR_API_KEY and CORE_API_KEY."""

    enabled: bool = False
    """true: papers are searched; with offline: true only cached answers are used"""
    genes: int = Field(default=16, ge=2, le=100)
    """genes looked up per iteration (half expected ones, half those predicted to change); as many background genes"""
    papers_per_gene: int = Field(default=5, ge=1, le=50)
    """papers requested per gene from each of PubMed and Europe PMC"""
    max_papers: int = Field(default=200, ge=1)
    """papers read per iteration at most; every gene keeps its best ones"""
    full_texts: int = Field(default=20, ge=0)
    """open full texts read per iteration at most; of other papers only the abstract is read"""
    mailto: str | None = None
    """contact address sent to NCBI and Unpaywall; null: Unpaywall is not used"""


class DemoSettings(Section):
    """The simulated atlases."""

    seed: int = Field(default=7, ge=0)
    """seed of sampling the cells; the simulated biology itself is fixed"""
    cells_per_set: int = Field(default=24, ge=10)
    """cells per cell type, donor and condition (controls twice as many, common kinds of cells more)"""


class Settings(Section):
    """Everything in `config/config.yaml`."""

    runs: str = "config/runs.tsv"
    """table of runs: run_id (may be empty), query, and columns named as settings that override them; a file, or the
    table itself as text
    """
    atlases: str | dict[str, AtlasEntry] = "config/atlases.yaml"
    """file with the atlases, or the atlases themselves"""
    use_atlases: list[str] | None = None
    """names of the atlases to use; null: all"""
    data_dir: str = "../shared/data"
    """value of `{data_dir}` in paths"""
    seed: int = Field(default=0, ge=0)
    """random seed; the same seed gives the same bytes"""
    offline: bool = True
    """true: no network; false: web services are used, and answers cached beside the run"""
    score_threshold: float = Field(default=7.0, ge=1, le=10)
    """composite_value at which the loop stops"""
    max_iterations: int = Field(default=5, ge=1, le=10)
    """largest number of iterations"""
    plateau_window: int = Field(default=3, ge=2)
    """iterations considered for a plateau"""
    plateau_min_improvement: float = Field(default=1.0, ge=0)
    """least gain in composite_value over the window, else the loop stops"""
    prompts_per_iteration: int = Field(default=3, ge=1, le=20)
    """K, prompts per iteration, all in one inference job"""
    control_strategy: ControlStrategy = ControlStrategy.SYNTHETIC_CONTROL
    """synthetic_control: the model also generates from matched control cells, and generated cells are compared with
    generated; query_as_control: generated cells are compared with the original query cells
    """
    query: QuerySettings = QuerySettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    prompting: PromptingSettings = PromptingSettings()
    transfer: TransferSettings = TransferSettings()
    exam: ExamSettings = ExamSettings()
    model: ModelSettings = Field(default_factory=ModelSettings)
    de: DESettings = DESettings()
    enrichment: EnrichmentSettings = EnrichmentSettings()
    grounding: GroundingSettings = Field(default_factory=GroundingSettings)
    literature: LiteratureSettings = LiteratureSettings()
    validation: ValidationSettings | None = None
    """held-out cells to compare the prediction with; null: none"""
    demo: DemoSettings = DemoSettings()

    @property
    def holdouts(self) -> list[CellFilter]:
        """Cells excluded from retrieval, prompting and training."""
        truth = [self.validation.perturbed, self.validation.control] if self.validation else []
        return [*self.retrieval.exclude, *truth]


SectionT = TypeVar("SectionT", bound=Section)
SECRET_KEY = re.compile(r"(^|_)(api_?key|password|secret|token|credentials?)$", re.IGNORECASE)


def settings_schema() -> dict[str, Any]:
    """JSON Schema of `config/config.yaml`, for editors and tests."""
    return Settings.model_json_schema()


def load_settings(config: dict[str, Any], where: str = "config") -> Settings:
    """Validate Snakemake's config (or a parsed YAML file).

    Raises
    ------
    ConfigError
        for an unknown key (the nearest known one is suggested), a wrong value, or a secret.
    """
    _refuse_secrets(config)
    return validate(Settings, _nulls(config), where)


def load_atlases(settings: Settings) -> dict[str, AtlasEntry]:
    """The atlases in use, by name, with `{data_dir}` filled in.

    Raises
    ------
    ConfigError
        for an unreadable file, a wrong entry, or a name in `use_atlases` that is not there.
    """
    if isinstance(settings.atlases, str):
        where = settings.atlases
        raw = read_yaml(Path(where))
    else:
        where = "config: atlases"
        raw = dict(settings.atlases)
    if not raw:
        raise ConfigError(f"{where}: no atlas is listed")
    names = list(raw) if settings.use_atlases is None else settings.use_atlases
    atlases = {}
    for name in names:
        if name not in raw:
            raise ConfigError(f"use_atlases: unknown atlas '{name}'.{suggest(name, raw)}")
        if not NAME.fullmatch(name):
            raise ConfigError(f"{where}: atlas name '{name}' may hold only letters, digits, '_', '-' and '.'")
        item = raw[name]
        entry = item if isinstance(item, AtlasEntry) else validate(AtlasEntry, item, f"{where}: {name}")
        path = entry.path.replace("{data_dir}", settings.data_dir)
        atlases[name] = entry.model_copy(update={"path": path})
    return atlases


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, or a ConfigError that names the file."""
    import yaml

    try:
        # A tenth of safe_load's time.
        loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
        data = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506 - both are safe
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, not a file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text. Save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigError(
            f"{place}: not valid YAML: {problem}. Indent with spaces; close brackets and quotes"
        ) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping (key: value), found {type(data).__name__}")
    return data


def validate(model: type[SectionT], data: Any, where: str) -> SectionT:
    """Validate `data` as `model`; `where` is the file or key for messages."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for item in error.errors():
            if item["type"] == "extra_forbidden":
                *parents, key = field_path(item["loc"])
                prefix = "".join(f"{part}." for part in parents)
                raise ConfigError(
                    f"{where}: unknown key '{prefix}{key}'.{suggest(key, known_keys(model, list(parents)))}"
                ) from None
        raise ConfigError(f"{where}: {explain(error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}") from None


def known_keys(model: type[Section], parents: list[str]) -> list[str]:
    """Keys of the (nested) section at `parents`; list positions and dictionary keys are skipped."""
    section: type[Section] = model
    for part in parents:
        field = section.model_fields.get(part)
        inner = _section_of(field.annotation) if field else None
        section = inner or section
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for part in get_args(annotation):
        found = _section_of(part)
        if found:
            return found
    return None


def _nulls(value: Any) -> Any:
    """Convert "null" back to None: Snakemake passes all values of `--config 'model={path: null}'` as text."""
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nulls(item) for item in value]
    return None if value == "null" else value


def _refuse_secrets(config: Any, path: str = "") -> None:
    if isinstance(config, dict):
        for key, value in config.items():
            if SECRET_KEY.search(str(key)) and value:
                raise ConfigError(
                    f"config: '{path}{key}' looks like a secret. Secrets come from the environment, never from files"
                )
            _refuse_secrets(value, f"{path}{key}.")
    elif isinstance(config, list):
        for item in config:
            _refuse_secrets(item, path)
