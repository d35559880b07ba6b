"""Says what the conformance suite found beside "passed": nothing is left out in silence."""

import json
import sys
from collections import Counter
from pathlib import Path

report = Path(sys.argv[1])
records = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
records.sort(key=lambda record: (record["subject"], record["scenario"]))
for record in records:
    remarks = [str(record["reason"])] if record["reason"] else []
    remarks += [note if isinstance(note, str) else ": ".join(map(str, note.values())) for note in record["notes"]]
    if record["verdict"] != "passed" or remarks:
        print(f"{record['subject']}::{record['scenario']}: {record['verdict']}: {'; '.join(remarks)}")
for verdict, count in sorted(Counter(record["verdict"] for record in records).items()):
    print(f"conformance: {count} {verdict}")
