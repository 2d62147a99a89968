r"""
A whole epoch, and spikes: when was each source active?
=======================================================

A window about a peak is a choice, and it hides what comes before and after. **A fit takes the whole
epoch, baseline included, and says of each source when it was active. Of many single events, such as
spikes, it says which source each of them speaks for.**
"""

# %%
import matplotlib.pyplot as plt
import mne
import numpy as np

from meg_vae import VAEInverse, datasets

mne.set_log_level("warning")

# %%
# A second with three answers
# ---------------------------
# Three sources answer one after the other, the last for 60 ms alone. The epoch begins 200 ms before
# the stimulus.
case = datasets.template_recording(n_sources=3, spacing="ico3", random_state=1)
forward = case.forward
sfreq = case.evoked.info["sfreq"]
times = np.arange(-0.2, 0.8, 1 / sfreq)
bursts = [(0.05, 0.20), (0.15, 0.45), (0.60, 0.66)]  # s
normals = mne.convert_forward_solution(forward, force_fixed=True)
rows = [100, 500, 900]
courses = np.zeros((3, len(times)))
for course, (begin, end), hertz in zip(
    courses, bursts, (11, 8, 20), strict=True
):
    inside = (times > begin - 1e-9) & (times < end + 1e-9)
    course[inside] = 30e-9 * np.cos(
        2 * np.pi * hertz * (times[inside] - begin)
    )
clean = normals["sol"]["data"][:, rows] @ courses
nave = 5
simulated = mne.EvokedArray(clean, case.evoked.info, times[0], nave=nave)
simulated.add_proj(case.noise_cov["projs"]).apply_proj()
evoked = mne.simulation.simulate_evoked(
    forward,
    mne.SourceEstimate(
        np.zeros((1, len(times))),
        [[forward["src"][0]["vertno"][0]], []],
        -0.2,
        1 / sfreq,
    ),
    simulated.info,
    case.noise_cov,
    nave=nave,
    random_state=0,
)
evoked.data += simulated.data
evoked.nave = nave
figure = evoked.plot(picks="mag", show=False, time_unit="ms")

# %%
# Fit all of it
# -------------
inverse = VAEInverse(subjects_dir=case.subjects_dir)
inverse.fit(evoked, forward, case.noise_cov)
inverse.sources_[
    ["hemi", "vertno", "peak_nAm", "log_evidence", "onset_s", "offset_s"]
].round(3)

# %%
# ``onset_s`` and ``offset_s`` bound the time in which a source is active beyond noise. Each has an
# interval that holds it with a probability of 95 %:
for _, source in inverse.sources_.sort_values("onset_s").iterrows():
    onset, low, high = 1e3 * source[["onset_s", "onset_low_s", "onset_high_s"]]
    offset = 1e3 * source["offset_s"]
    print(f"from {onset:.0f} ms ({low:.0f} to {high:.0f}) to {offset:.0f} ms")
print("true:", [f"{1e3 * a:.0f} to {1e3 * b:.0f} ms" for a, b in bursts])

# %%
# Nothing is active before the stimulus. How the evidence for each source adds up:
inverse.plot_evidence_over_time()

# %%
# In the model each source is active in a span of its own (``spans_``), and silent before and after.
# So the short one carries the evidence that it would carry in a window of its own; taken for active
# throughout it is diluted in the whole second:
whole = VAEInverse(spans="whole").fit(evoked, forward, case.noise_cov)
last = inverse.sources_["onset_s"].idxmax()
print("spans:", inverse.spans_.round(2).tolist())
print(
    f"in its span {inverse.sources_['log_evidence'][last]:.0f} nats,", end=" "
)
print(f"as if always active {whole.sources_['log_evidence'].min():.0f}")

# %%
# The time courses of all sources together, without what leaks from one to another, are channels:
channels = inverse.to_evoked(evoked)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name, course in zip(channels.ch_names, channels.data, strict=True):
    ax.plot(1e3 * channels.times, 1e9 * course, label=name)
ax.axvline(0, color="0.6", linestyle=":")
ax.set(xlabel="Time (ms)", ylabel="Moment (nAm)")
ax.legend(frameon=False)

# %%
# Spikes, one by one
# ------------------
# An average of spikes mixes what is not alike. In 24 single events, which an observer has marked,
# two sources take turns, one of them rarely, and some marks are nothing at all.
rng = np.random.default_rng(0)
kinds = rng.choice([0, 1, 2], size=24, p=[0.6, 0.25, 0.15])  # 2: nothing
window = np.arange(-0.06, 0.09, 1 / sfreq)
spike = np.exp(-((window / 0.015) ** 2))
data = rng.multivariate_normal(
    np.zeros(len(case.noise_cov.ch_names)),
    case.noise_cov.data,
    size=(len(kinds), len(window)),
    method="eigh",
).swapaxes(1, 2)
for one, kind in zip(data, kinds, strict=True):
    if kind < 2:
        field = normals["sol"]["data"][:, rows[kind]]
        one += np.outer(field, 40e-9 * spike)
epochs = mne.EpochsArray(data, case.evoked.info, tmin=window[0], baseline=None)
epochs.add_proj(case.noise_cov["projs"]).apply_proj()

# %%
# A list of responses shares its sources. Each is active in those that speak for it:
events = VAEInverse(subjects_dir=case.subjects_dir)
events.fit(list(epochs.iter_evoked()), forward, case.noise_cov)
events.responses_.drop(columns="comment").head(8).round(2)

# %%
# ``source`` is the row of ``sources_`` that has most evidence in an event, and −1 where none has.
# All of them in one picture:
figure = events.plot_response_evidence()
found = events.responses_["source"].to_numpy()
print("events of each source:", np.bincount(found[found >= 0]).tolist())
print("true:", np.bincount(kinds, minlength=3)[:2].tolist())

# %%
# The same in the shell, with a table and this picture in the report:
#
# .. code-block:: console
#
#     $ meg-vae localize night_raw.fif X-fwd.fif X-cov.fif --events spikes-eve.fif \\
#         --tmin -0.06 --tmax 0.09 -o spikes

# %%
# What to watch out for
# ---------------------
# - A source has one span: the one that speaks most for it. What is active twice is active, by
#   this, from the first time to the last if little lies between, or in the stronger of the two.
# - A response that rises slowly has no onset: it is then where the rise stands out of the noise,
#   and later in weaker data.
# - To choose a span costs evidence: log(n) nats for n independent samples, about 4 to 6. A source
#   that is short and weak may be found in a window about it and not in the whole epoch.
# - Of events, those are a source's that speak for it with better than even chances. A nat or two is
#   little; look at ``response_evidence_`` before you count.
