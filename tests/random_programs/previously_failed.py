"""Programs that once gave a wrong value or derivative, kept as they were drawn.

An entry is the printed form of a :class:`Program`, so that it outlives changes to the generator, with a
line that says what was wrong.
"""

from __future__ import annotations

from random_programs.programs import Program

PREVIOUSLY_FAILED: dict[str, Program] = {
    "the derivative of x / 3 had no operand": Program(((2,),), (("cos", (0,), {}),), 0),
    "concatenate took arrays but no expressions": Program(
        ((2, 1), (2, 3)), (("concatenate", (0, 1, 0), {"axis": 1}),), 0
    ),
    "stack took arrays but no expressions": Program(((2,), (2,)), (("stack", (0, 1), {"axis": 1}),), 0),
    "a softmax over a repeated axis lost the axis": Program(
        ((5, 3), (1, 1), (3,)),
        (
            ("einsum", (2, 0, 2), {"subscripts": "a,ba,a->ba"}),
            ("broadcast_to", (3,), {"shape": (2, 5, 3)}),
            ("power", (4, 1), {}),
            ("einsum", (0,), {"subscripts": "ab->ab"}),
            ("written_softmax", (4,), {"axis": 0}),
            ("qr_q", (3,), {}),
        ),
        10534,
    ),
    "XLA's gradient was wrong here, ours right": Program(
        ((3, 5, 3), (3, 3)),
        (
            ("sign", (1,), {}),
            ("where", (2, 1), {}),
            ("scatter_add", (2,), {"indices": [[2, 1, 0, 0], [0, 0, 1, 2]], "axis": 1}),
            ("cumsum", (2,), {"axis": 0}),
            ("index", (5,), {"key": (-2, (None, None, None))}),
            ("concatenate", (6, 6), {"axis": 0}),
        ),
        20426,
    ),
    "a product of what was reshaped had derivative 0": Program(
        ((3, 3, 5), (1, 2, 2), (5, 2)),
        (
            ("expand_dims", (2,), {"axis": 1}),
            ("reduce", (3,), {"kind": "prod", "axis": None, "keepdims": True}),
            ("power", (1, 1), {}),
            ("det", (5,), {}),
            ("outer", (6, 6), {}),
            ("abs", (5,), {}),
            ("scatter_add", (6,), {"indices": [0, 0, -1, -1], "axis": -1}),
            ("logaddexp", (9, 0), {}),
        ),
        100824,
    ),
}
