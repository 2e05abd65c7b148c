"""Uninformative words of questions, and names that are also everyday words."""

from __future__ import annotations

from haystack.ontology.normalise import word_set

# They end a name: never part of a cell type, tissue or disease.
QUESTION_WORDS = word_set("""
    a an the this that these those my our your their his her its it i we you they me us please tell show give
    explain describe estimate determine calculate compute know want need like to for by on upon at as from in into
    of with without within versus vs than between among across through via using use used given based per about
    around during before after following under over until while when where which what who whom whose why how if
    whether then so but or nor not no yes is are was were be been being am do does did done has have had having can
    could may might must shall should will would happen happens happening occur go goes become becomes get gets make
    makes look looks looking appear appears seem seems predict predicts predicted predicting prediction predictions
    simulate simulated simulation generate generates generated generating generation impute imputes imputed imputing
    imputation infer inferred model models modelling forecast reconstruct fill project transfer respond responds
    responded responding response responses react reacts reacted reaction reactions effect effects impact influence
    influences affect affects affected change changes changed changing alter alters altered shift shifts treat
    treats treated treating treatment treatments stimulate stimulates stimulated stimulating stimulation expose
    exposed exposing exposure perturb perturbed perturbing perturbation perturbations incubate incubated incubation
    culture cultured challenge challenged add added adding addition administer administered apply applied dose dosed
    activate inhibit inhibited inhibition block blocked blocking knock knocked knocking knockout knockouts knockdown
    knock-out knock-down ko kd crispr crispri crispra sirna shrna delete deleted deletion overexpress overexpressed
    overexpressing overexpression silence silenced silencing loss gain gene genes expression expressions express
    expresses expressed differentially differential transcription transcriptional transcript transcripts
    transcriptome transcriptomic transcriptomes profile profiles signature signatures program programme state states
    phenotype donor donors patient patients individual individuals subject subjects participant participants sample
    samples person people someone reference target control controls untreated unstimulated baseline dataset datasets
    data atlas cohort study studies experiment missing absent unmeasured unseen unobserved new novel held-out
    another other different same similar alone together both combined combination compared comparison relative
    against all any each every more most less least up down upregulated downregulated up-regulated down-regulated
    induced regulated and/or there here out primary also just only very really likely expected potential possible
    ask question answer de deg degs rna rna-seq scrna-seq single-cell lost them transport translate lab infection
    infected see compare compares comparing differently outcome outcomes upregulate upregulates downregulate
    downregulates wants wanted gave giving put take takes took find finding help way ways curious wonder wondering
    interested interest think suppose assume imagine say said hello hi thanks thank cell-type celltype cell-types
    vehicle overnight calm cure cures curing drive drives driving push pushes keep keeps impair impairs rescue rescues
    dampen boost boosts blunt blunts differ differs differing resemble resembles exert exerts elicit elicits evoke
    evokes provoke trigger triggers skew skewing polarize polarized polarise polarised prime primed priming inject
    injected injection ingest inhale infuse infused administering supplement supplemented supplementation co-culture
    cocultured cotreated co-treated pretreated pre-treated pretreatment incubating culturing readout readouts
    stimulus stimuli harder stronger weaker faster slower
""")
INSIDE = word_set("of the in and from")

TISSUE_NOT = word_set("""
    cell tissue body organ organs system region part side structure left right culture line head back process wall
    base surface space group set sample male female adult human population membrane matrix material portion trunk
    zone layer gland duct vessel fiber node band root center network cortex medulla limb tract field element
    organism compartment junction cap tube sac substance axis cavity floor roof tip crest bud plate disc disk column
    canal ring arch cord lobe margin neck bone hair nail capillary vein artery endothelium epithelium mesothelium
    mesenchyme stroma parenchyma interstitium serum plasma fat immune stem germ pole hand foot
""")
# Of these, what names a part of the body when `of`, `in` or `from` stands before it.
ANATOMICAL = word_set("""
    trunk gland duct vessel limb tract neck bone hair nail capillary vein artery endothelium epithelium mesothelium
    mesenchyme stroma parenchyma interstitium serum plasma fat hand foot eye gut head arm leg face back tail finger toe
    blood brain skin lung heart nose breast colon iris appendix skeleton ear lip hip chest rib jaw
""")
DISEASE_NOT = word_set("""
    disease disorder syndrome condition response reaction sensitivity deficiency infection injury inflammation
    stress pain sign fever shock death toxicity activation effect exposure change growth hypoxia cell stimulation
    loss phenotype susceptibility resistance carrier resistant human treated tissue lesion tumor cancer-free ko
    knockout defect abnormality tolerance dependence aging ageing senescence target control set cat ran can all
""")

# UBERON labels that count when they stand inside a cell type's name.
ORGANS = frozenset({
    "lung", "kidney", "liver", "heart", "skin of body", "stomach", "intestine", "small intestine", "large intestine",
    "colon", "ileum", "jejunum", "duodenum", "rectum", "spleen", "thymus", "pancreas", "retina", "eye", "brain",
    "cerebral cortex", "bone marrow", "blood", "umbilical cord blood", "lymph node", "breast", "mammary gland",
    "prostate gland", "ovary", "uterus", "testis", "placenta", "esophagus", "urinary bladder", "trachea", "bronchus",
    "nose", "tonsil", "thyroid gland", "adrenal gland", "saliva-secreting gland", "adipose tissue",
    "skeletal muscle tissue", "hippocampal formation", "cerebellum", "spinal cord", "islet of Langerhans", "dermis",
    "aorta", "gallbladder", "tongue", "peripheral nervous system", "synovial joint",
})  # fmt: skip
