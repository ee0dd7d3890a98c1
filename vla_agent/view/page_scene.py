"""The 3-D view: geometry once, then poses; paths; cameras as frusta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import viser

from vla_agent.view.source import CameraModel, Frame, Part, Path, Scene

FRUSTUM = 0.08  # metres
MOVED = 1e-5  # metres, or of a quaternion: a pose that changed by less is not sent again
PIXEL = 0.0012  # metres of a path's width: a pixel at the distance of a usual view


class SceneView:
    """Draws frames into a server's scene."""

    def __init__(self, server: viser.ViserServer, choose: Callable[[str, str], None]) -> None:
        self._scene, self._choose = server.scene, choose
        self._server, self._drawn = server, Scene()
        self._parts: dict[int, tuple[Part, viser.MeshHandle]] = {}
        self._frusta: dict[str, tuple[CameraModel, viser.CameraFrustumHandle]] = {}
        self._bodies: dict[str, tuple[viser.FrameHandle, np.ndarray]] = {}
        self._paths: dict[str, tuple[np.ndarray, viser.LineSegmentsHandle]] = {}
        self._free: dict[str, list[str]] = {}  # body -> names of parts that are gone, to be used again
        self._serial, self.shows_paths, self.shows_cameras = 0, True, True
        self._scene.add_grid(
            "/ground", width=4.0, height=4.0, position=(0.4, 0.0, -0.42), cell_size=0.2, section_size=1.0
        )

    def draw(self, frame: Frame) -> None:
        """Bring the 3-D view to this frame."""
        if frame.scene is not self._drawn:
            self._send(frame.scene)
        self._pose(frame.poses)
        if self.shows_paths:
            self._draw_paths(frame.paths)

    def show_paths(self, shown: bool) -> None:
        self.shows_paths = shown
        for _, handle in self._paths.values():
            handle.visible = shown

    def show_cameras(self, shown: bool) -> None:
        self.shows_cameras = shown
        for _, handle in self._frusta.values():
            handle.visible = shown

    def _send(self, scene: Scene) -> None:
        """Geometry: what is new is added, what is gone removed, the rest stays."""
        if not self._parts:
            viewer = self._server.initial_camera
            viewer.position, viewer.look_at = scene.look_from, scene.look_at
        kept = {id(part) for part in scene.parts}
        for key in [key for key in self._parts if key not in kept]:
            part, handle = self._parts.pop(key)
            handle.remove()
            self._free.setdefault(part.body, []).append(handle.name)
        for part in scene.parts:
            if id(part) not in self._parts:
                self._parts[id(part)] = part, self._add_part(part)
            self._make_pickable(self._parts[id(part)][1], scene, part.body)
        cameras = {camera.name: camera for camera in scene.cameras}
        for name in [n for n, (camera, _) in self._frusta.items() if cameras.get(n) != camera]:
            self._frusta.pop(name)[1].remove()
        for name, camera in cameras.items():
            if name not in self._frusta:
                self._frusta[name] = camera, self._add_camera(camera)
        self._drawn = scene

    def _add_part(self, part: Part) -> viser.MeshHandle:
        name = self._new_name(part.body)
        red, green, blue, alpha = part.rgba
        return self._scene.add_mesh_simple(
            name,
            part.vertices,
            part.faces,
            color=(int(255 * red), int(255 * green), int(255 * blue)),
            opacity=None if alpha >= 1 else float(alpha),
            flat_shading=True,
        )

    def _new_name(self, body: str) -> str:
        """One that is free: a browser keeps every name that it has seen, for as long as the page is open."""
        if free := self._free.get(body):
            return free.pop()
        self._serial += 1
        return f"{self._body(body).name}/{self._serial}"

    def _make_pickable(self, handle: viser.MeshHandle, scene: Scene, body: str) -> None:
        handle.remove_click_callback("all")
        option = scene.pickable.get(body)
        if option is not None:
            handle.on_click(lambda _: self._choose(scene.pick, option))

    def _add_camera(self, camera: CameraModel) -> viser.CameraFrustumHandle:
        return self._scene.add_camera_frustum(
            f"{self._body(camera.body).name}/camera",
            fov=camera.fovy,
            aspect=camera.aspect,
            scale=FRUSTUM,
            color=(124, 58, 237),
            visible=self.shows_cameras,
        )

    def _body(self, name: str) -> viser.FrameHandle:
        """The frame that a body's parts move with."""
        if name not in self._bodies:
            safe = name.replace("/", "_")
            self._bodies[name] = self._scene.add_frame(f"/bodies/{safe}", show_axes=False), np.full(7, np.nan)
        return self._bodies[name][0]

    def _pose(self, poses: Mapping[str, np.ndarray]) -> None:
        for name, (handle, last) in self._bodies.items():
            pose = poses.get(name)
            if pose is not None and not np.allclose(pose, last, rtol=0, atol=MOVED):
                handle.position, handle.wxyz = pose[:3], pose[3:]
                last[:] = pose

    def _draw_paths(self, paths: tuple[Path, ...]) -> None:
        for name in self._paths.keys() - {path.name for path in paths}:
            self._paths.pop(name)[1].remove()
        for path in paths:
            segments = _segments(path.points)
            drawn = self._paths.get(path.name)
            if drawn is not None and np.array_equal(drawn[0], segments):
                continue
            if drawn is None:
                handle = self._scene.add_line_segments(
                    f"/paths/{path.name}", segments, path.colour, thickness=path.width * PIXEL
                )
            else:
                handle = drawn[1]
                handle.points = segments
            self._paths[path.name] = segments, handle


def _segments(points: np.ndarray) -> np.ndarray:
    """(N, 3) -> (N - 1, 2, 3); one segment without length where there is none, as an empty line cannot be sent."""
    if len(points) < 2:
        return np.zeros((1, 2, 3), np.float32)
    return np.stack([points[:-1], points[1:]], axis=1).astype(np.float32)


def add_lights(server: viser.ViserServer) -> None:
    """viser's own lights, without the shadows that a slow machine pays for."""
    options: dict[str, Any] = {"enabled": True, "cast_shadow": False}
    server.scene.configure_default_lights(**options)
