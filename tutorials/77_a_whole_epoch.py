r"""
A whole epoch: when was each source active?
===========================================

A window about a peak is a choice, and it hides what comes before and after. **A fit takes the whole
epoch, baseline included, and says of each source when it was active.**
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
# The time courses of all sources together, without what leaks from one to another, are channels:
channels = inverse.to_evoked(evoked)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name, course in zip(channels.ch_names, channels.data, strict=True):
    ax.plot(1e3 * channels.times, 1e9 * course, label=name)
ax.axvline(0, color="0.6", linestyle=":")
ax.set(xlabel="Time (ms)", ylabel="Moment (nAm)")
ax.legend(frameon=False)

# %%
# What to watch out for
# ---------------------
# - A source has one span: the one that speaks most for it. What is active twice is active, by
#   this, from the first time to the last if little lies between, or in the stronger of the two.
# - A response that rises slowly has no onset: it is then where the rise stands out of the noise,
#   and later in weaker data.
# - A short source in a long window must be strong. Its variance is that of the whole window, so
#   that what would be 20 nats in a window of its own can be less than the 13 that are asked for.
#   Look at a shorter window too.
