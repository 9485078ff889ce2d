"""One good row or more of every format that `read_records` knows, and of our own candidates and traces."""

from typing import Any

TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
ASK = TURNS[:1]
ANSWER = [{"role": "assistant", "content": "Because."}]
STEPS = ["48/2 = 24", "24 + 2 = 26", "The answer is 26."]

ROWS: dict[str, list[dict[str, Any]]] = {
    "preference": [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "margin": 0.5, "id": "a"},
        {"prompt": ASK, "chosen": TURNS[1:], "rejected": ANSWER},
        {"chosen": TURNS, "rejected": ASK + ANSWER},
        {"chosen": "Why? So it is.", "rejected": "Why? No."},
    ],
    "hh": [
        {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    ],
    "rewardbench": [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "subset": "chat", "id": 3},
    ],
    "llmbar": [{"input": "Why?", "output_1": "So.", "output_2": "No.", "label": 1}],
    "pandalm": [
        {"instruction": "Why?", "input": "", "response1": "So.", "response2": "No.", "idx": 1}
        | {"annotator1": 1, "annotator2": 0, "annotator3": 2},
    ],
    "unpaired": [
        {"prompt": "Why?", "completion": "So.", "label": True},
        {"prompt": ASK, "completion": ANSWER, "label": 0},
    ],
    "stepwise": [{"prompt": "Why?", "completions": STEPS, "labels": [True, 0.5, None], "id": "s"}],
    "prm800k": [
        {
            "question": {"problem": "What is 48/2 + 2?"},
            "label": {
                "finish_reason": "solution",
                "steps": [
                    {
                        "completions": [{"text": STEPS[0], "rating": 1}, {"text": "48/2 = 25", "rating": -1}],
                        "chosen_completion": 0,
                        "human_completion": None,
                    },
                    {"completions": [{"text": STEPS[1], "rating": 0}], "human_completion": {"text": STEPS[1]}},
                    {"completions": [{"text": STEPS[2], "rating": None}], "chosen_completion": 0},
                ],
            },
        },
    ],
    "processbench": [
        {"problem": "What?", "steps": STEPS, "label": 1, "generator": "g", "final_answer_correct": False, "id": "p"},
        {"problem": "What?", "steps": STEPS, "label": -1},
    ],
    "bigbench_mistake": [
        {"input": "( [ ]", "steps": STEPS, "mistake_index": 1, "answer": ")", "target": ")"},
        {"input": "b a", "steps": STEPS, "mistake_index": None, "answer": "a", "target": "b"},
    ],
    "prmbench": [
        {
            "idx": "i",
            "original_question": "What?",
            "original_process": STEPS,
            "modified_question": "What?",
            "modified_process": STEPS,
            "error_steps": [2],
            "classification": "redundency",
        },
    ],
    "gsm8k": [{"question": "What?", "answer": "48/2 = <<48/2=24>>24\n24 + 2 = <<24+2=26>>26\n#### 26"}],
    "gsm8k_solutions": [
        {"question": "What?", "ground_truth": "#### 26"}
        | {"175b": {"solution": "#### 26", "is_correct": True}, "6b": {"solution": "", "is_correct": False}},
    ],
    "nemo_ranks": [
        {"context": ASK, "completions": [{"rank": 0, "completion": TURNS[1:]}, {"rank": 1, "completion": ANSWER}]},
    ],
    "rlhflow_answers": [{"prompt": "Why?", "answers": ["So.", ""], "label": [1, 0]}],
    "rewardbench2": [
        {"id": "x", "prompt": "Why?", "chosen": ["So."], "rejected": ["No.", "Never."], "subset": "Ties"}
        | {"num_correct": 1, "total_completions": 3},
    ],
    "candidates": [
        {"id": "c", "prompt": "4 5 6 10", "candidates": [{"text": "10 - 4 = 6 (left: 5 6 6)", "correct": False}]},
        {"prompt": ASK, "candidates": [{"text": "So."}, {"text": "No.", "correct": None}]},
    ],
    "completion": [{"prompt": "Why?", "completion": "So."}, {"prompt": ASK, "completion": ANSWER}],
    "messages": [{"messages": TURNS}, {"messages": [{"role": "system", "content": ""}, *TURNS]}],
}
CANDIDATES = [
    {"id": "a", "prompt": "4 5 6 10", "candidates": [{"text": "10 - 4 = 6 (left: 5 6 6)", "correct": True}]},
    {"prompt": "1 2 4 7", "candidates": [{"text": "Answer: (7 - 2 + 1) * 4 = 24"}, {"text": ""}]},
]
TRACES = [
    {"id": "a", "prompt": "4 5 6 10", "steps": ["10 - 4 = 6 (left: 5 6 6)", {"text": "x", "label": True}]},
    {"prompt": "1 2 4 7", "text": "7 - 2 = 5 (left: 1 4 5)\nAnswer: (7 - 2 + 1) * 4 = 24", "source": "expert"},
]
