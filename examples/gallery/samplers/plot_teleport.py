"""
Skip the first steps of a network
=================================

At high noise a trained network acts as if its data were one Gaussian, whose probability
flow is known. You learn to jump over the first steps of any diffusers model, and to
measure how many can be skipped.
"""

import torch
from diffusers import DDIMScheduler
from matplotlib.figure import Figure

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.integrations.diffusers import LinearModel, teleport

# %%
# The network is not linear: it is the denoiser of the mixture of all styles of the
# shipped model's sevens. The jump uses the Gaussian with the mean and the covariance of
# all sevens.

ld = LinearDiffusion.from_pretrained("mnist")
network = LinearModel(ld, prompt="7", torch_dtype=torch.float64)
noise = torch.randn(
    16, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64
)
scheduler = DDIMScheduler(timestep_spacing="trailing", clip_sample=False)


@torch.no_grad()
def draw(num_steps, skip):
    """Draw 16 sevens; the first `skip` of the steps are one jump."""
    scheduler.set_timesteps(num_steps)
    sample, timesteps = teleport(ld, noise, scheduler, skip=skip, prompt="7")
    for t in timesteps:
        sample = scheduler.step(network(sample, t).sample, t, sample).prev_sample
    return sample


# %%
# The error is the root mean square distance to the images of 200 steps from the same
# noise, relative to the spread of the images. With as many evaluations of the network,
# a jump over the first 30 % of the steps reduces it.

end = draw(200, 0)
spread = (end - end.mean(0)).norm()
shares = (0.0, 0.3, 0.5)
errors = {share: [] for share in shares}
evaluations = {share: [] for share in shares}
for num_steps in (10, 20, 40):
    for share in shares:
        skip = int(share * num_steps)
        errors[share].append(float((draw(num_steps, skip) - end).norm() / spread))
        evaluations[share].append(num_steps - skip)
        print(f"{skip:2d} of {num_steps} steps skipped: error {errors[share][-1]:.3f}")

figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
for share in shares:
    label = f"first {share:.0%} of the steps skipped" if share else "no step skipped"
    axes.loglog(evaluations[share], errors[share], "o-", label=label)
ticks = [5, 10, 20, 40]
axes.set_xticks(ticks, map(str, ticks))
axes.set_yticks([0.15, 0.2, 0.25, 0.3], ["0.15", "0.2", "0.25", "0.3"])
axes.minorticks_off()
axes.set(
    xlabel="evaluations of the network", ylabel="error", title="DDIM on a mixture of sevens"
)
legend = axes.legend()
plot.show(figure)
