"""Run the shipped policy in simulation: load a folder, give an instruction, execute chunks of actions.

python examples/01_run_the_policy.py
"""

import tempfile
from pathlib import Path

from PIL import Image

from sim.env import TabletopEnv
from vla_agent.policy.loading import load_policy


def main() -> None:
    policy = load_policy("policies/tabletop-nano")  # installed with the package; or a folder of your own
    contract = policy.contract  # what the policy sees and emits; it travels with the weights
    print(f"cameras {contract.camera_names}, state ({contract.state_dim},)")
    print(f"a chunk has {contract.chunk_length} actions of {contract.action_dim} numbers")
    env = TabletopEnv(task="put_in_tray", render_mode="rgb_array")
    successes = 0
    for seed in range(3):  # an episode depends on its seed alone: scene, instruction, the policy's noise
        observation, info = env.reset(seed=seed)
        policy.reset(info["instruction"], seed=seed)
        steps, done, success = 0, False, False
        while not done:
            chunk = policy.act(observation)  # (16, 7): metres, radians, gripper, one row for each 50 ms
            for action in chunk[: policy.execute]:  # execute half of the chunk, then observe again
                observation, _, success, timeout, info = env.step(action)
                steps, done = steps + 1, success or timeout
                if done:
                    break
        successes += success
        print(f"seed {seed}: '{info['instruction']}': {'success' if success else 'failure'} after {steps * 0.05:.1f} s")
    image = Path(tempfile.mkdtemp(prefix="vla-example-")) / "last_frame.png"
    Image.fromarray(env.render()).resize((768, 384)).save(image)
    env.close()
    print(f"{successes} of 3; the last frame of both cameras: {image}")


if __name__ == "__main__":
    main()
