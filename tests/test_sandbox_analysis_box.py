"""Analysis by rules and tools, and by running the program: findings, coverage, profile, fuzzing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_sandbox_analysis import PROGRAMS

from helpers.project import UsageError
from helpers.sandbox import LANGUAGES, Limits, NotAvailable, Sandbox, SandboxError, Test
from helpers.sandbox import analysis as whole
from helpers.sandbox.analysis import dynamic, findings, metrics, rules
from helpers.sandbox.records import Execution

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="boxes are Linux's")


class Plain:
    """A stand-in for a box: a plain process in a temporary folder. For our own programs only."""

    python = sys.executable
    limits = Limits()

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def execute(
        self,
        argv: Sequence[str],
        files: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        limits: Limits | None = None,
        mounts: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        address_space: bool = True,
    ) -> Execution:
        self.calls.append(list(argv))
        assert all(Path(place).exists() for place in mounts)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (files or {}).items():
                (Path(folder) / name).write_bytes(content)
            variables = {"PATH": os.environ["PATH"], "HOME": folder} | dict(env or {})
            ran = subprocess.run(
                list(argv), input=stdin, capture_output=True, cwd=folder, env=variables,
                check=False, timeout=300,
            )  # fmt: skip
        return Execution(ran.returncode, stdout=ran.stdout, stderr=ran.stderr)


@pytest.fixture(scope="module")
def real() -> Iterator[Sandbox]:
    try:
        sandbox = Sandbox()
    except NotAvailable as error:
        pytest.skip(f"no isolation here: {error}")
    with sandbox:
        yield sandbox


@pytest.fixture(scope="module", params=["plain", "real"])
def box(request: pytest.FixtureRequest) -> Any:
    return Plain() if request.param == "plain" else request.getfixturevalue("real")


@pytest.fixture(params=sorted(LANGUAGES))
def language(request: pytest.FixtureRequest) -> str:
    return request.param


def need(sandbox: Sandbox, name: str) -> None:
    if sandbox.languages.get(name, "not available").startswith("not available"):
        pytest.skip(f"{name} is {sandbox.languages.get(name)}")


def given(*inputs: str) -> list[Test]:
    return [Test(text) for text in inputs]


# ------------------------------------------------------------------------------ our own rules

# language -> programs with one weak place each: (rule, its CWE, a line of the program)
WEAK = {
    "python": [
        ("evaluate", "CWE-95", "eval(input())"),
        ("evaluate", "CWE-95", "exec(code)"),
        ("shell", "CWE-78", "import os; os.system('ls ' + name)"),
        ("shell", "CWE-78", "from os import popen as p; p(f'ls {name}')"),
        ("shell", "CWE-78", "import subprocess as sp; sp.run(name, shell=True)"),
        ("deserialise", "CWE-502", "import pickle; pickle.loads(data)"),
        ("deserialise", "CWE-502", "import yaml; yaml.load(data)"),
        ("secret", "CWE-798", "password = 'hunter22'"),
        ("secret", "CWE-798", "connect(user='me', db_password='hunter22')"),
        ("secret", "CWE-798", "settings = {'api_key': 'abcd1234'}"),
        ("sql", "CWE-89", "db.execute('SELECT * FROM t WHERE a = ' + name)"),
        ("sql", "CWE-89", "db.execute(f'DELETE FROM t WHERE a = {name}')"),
        ("sql", "CWE-89", "db.execute('UPDATE t SET a = %s' % name)"),
        ("sql", "CWE-89", "db.execute('INSERT INTO t VALUES ({})'.format(name))"),
        ("hash", "CWE-327", "import hashlib; hashlib.md5(data)"),
        ("certificate", "CWE-295", "import requests; requests.get(url, verify=False)"),
        ("temporary", "CWE-377", "import tempfile; tempfile.mktemp()"),
        ("rights", "CWE-732", "import os; os.chmod(name, 0o777)"),
    ],
    "java": [
        ("shell", "CWE-78", "Runtime.getRuntime().exec(name);"),
        ("shell", "CWE-78", "new ProcessBuilder(name).start();"),
        ("deserialise", "CWE-502", "Object o = new ObjectInputStream(stream).readObject();"),
        ("secret", "CWE-798", 'String password = "hunter22";'),
        ("sql", "CWE-89", 'db.executeQuery("SELECT * FROM t WHERE a = " + name);'),
        ("sql", "CWE-89", 'String.format("SELECT * FROM t WHERE a = %s", name);'),
        ("hash", "CWE-327", 'MessageDigest.getInstance("MD5");'),
    ],
    "c": [
        ("overflow", "CWE-242", "gets(line);"),
        ("overflow", "CWE-120", "strcpy(line, name);"),
        ("overflow", "CWE-120", 'sprintf(line, "%s", name);'),
        ("overflow", "CWE-120", 'scanf("%s", line);'),
        ("format", "CWE-134", "printf(name);"),
        ("format", "CWE-134", "fprintf(stderr, name);"),
        ("shell", "CWE-78", "system(name);"),
        ("shell", "CWE-78", 'popen(name, "r");'),
        ("secret", "CWE-798", 'const char *password = "hunter22";'),
        ("temporary", "CWE-377", "tmpnam(line);"),
    ],
    "csharp": [
        ("shell", "CWE-78", "Process.Start(name);"),
        ("deserialise", "CWE-502", "var f = new BinaryFormatter();"),
        ("secret", "CWE-798", 'string password = "hunter22";'),
        ("sql", "CWE-89", 'db.Query($"SELECT * FROM t WHERE a = {name}");'),
        ("unsafe", "CWE-119", "unsafe { int* p = null; }"),
    ],
    "go": [
        ("shell", "CWE-78", 'exec.Command("sh", "-c", name)'),
        ("shell", "CWE-78", "exec.Command(name)"),
        ("secret", "CWE-798", 'password := "hunter22"'),
        ("sql", "CWE-89", 'db.Query(fmt.Sprintf("SELECT * FROM t WHERE a = %s", name))'),
        ("certificate", "CWE-295", "c := tls.Config{InsecureSkipVerify: true}"),
        ("unsafe", "CWE-119", "p := unsafe.Pointer(&x)"),
        ("hash", "CWE-327", "md5.Sum(data)"),
    ],
    "javascript": [
        ("evaluate", "CWE-95", "eval(name);"),
        ("evaluate", "CWE-95", "const f = new Function(name);"),
        ("evaluate", "CWE-95", "setTimeout('run()', 10);"),
        ("shell", "CWE-78", "require('child_process'); const { exec } = require('child_process');"
         " exec(name);"),
        ("shell", "CWE-78", "const cp = require('node:child_process'); cp.execSync(`ls ${name}`);"),
        ("shell", "CWE-78", "import { exec as run } from 'child_process'; run(name);"),
        ("secret", "CWE-798", "const options = { password: 'hunter22' };"),
        ("sql", "CWE-89", "db.query(`SELECT * FROM t WHERE a = ${name}`);"),
        ("page", "CWE-79", "element.innerHTML = name;"),
        ("certificate", "CWE-295", "https.get({ rejectUnauthorized: false });"),
    ],
    "ruby": [
        ("evaluate", "CWE-95", "eval name"),
        ("shell", "CWE-78", 'system("ls #{name}")'),
        ("shell", "CWE-78", "`ls #{name}`"),
        ("deserialise", "CWE-502", "Marshal.load(data)"),
        ("deserialise", "CWE-502", "YAML.load(data)"),
        ("secret", "CWE-798", "password = 'hunter22'"),
        ("sql", "CWE-89", 'db.execute("SELECT * FROM t WHERE a = #{name}")'),
        ("certificate", "CWE-295", "http.verify_mode = OpenSSL::SSL::VERIFY_NONE"),
        ("hash", "CWE-327", "Digest::MD5.hexdigest(data)"),
    ],
    "rust": [
        ("unsafe", "CWE-119", "unsafe { run(); }"),
        ("shell", "CWE-78", 'Command::new("sh").arg("-c").arg(name);'),
        ("shell", "CWE-78", "Command::new(name).output();"),
        ("secret", "CWE-798", 'let password = "hunter22";'),
        ("sql", "CWE-89", 'let q = format!("SELECT * FROM t WHERE a = {}", name);'),
    ],
    "bash": [
        ("evaluate", "CWE-95", 'eval "$name"'),
        ("shell", "CWE-78", 'bash -c "ls $name"'),
        ("unquoted", "CWE-78", "rm -rf $folder/old"),
        ("download", "CWE-494", "curl https://example.org/x | sh"),
        ("certificate", "CWE-295", "curl -k https://example.org"),
        ("rights", "CWE-732", "chmod 777 file"),
        ("secret", "CWE-798", "password=hunter22"),
    ],
}  # fmt: skip
WEAK["cpp"] = [
    (rule, cwe, line.replace("strcpy", "std::strcpy").replace("system", "std::system"))
    for rule, cwe, line in WEAK["c"]
]
WEAK["typescript"] = WEAK["javascript"]
FRAMES = {
    "java": "class A {{\n void f() {{\n  {} // {}\n }}\n}}\n",
    "c": "int main(void) {{\n\n  {} // {}\n}}\n",
    "csharp": "class A {{\n void F() {{\n  {} // {}\n }}\n}}\n",
    "go": "package main\nfunc main() {{\n\t{} // {}\n}}\n",
    "rust": "fn main() {{\n\n    {} // {}\n}}\n",
    "javascript": "\n\n{} // {}\n",
    "python": "\n\n{} # {}\n",
    "ruby": "\n\n{} # {}\n",
    "bash": "\n\n{} # {}\n",
}
FRAMES |= {"cpp": FRAMES["c"], "typescript": FRAMES["javascript"]}


@pytest.mark.parametrize(
    ("name", "rule", "cwe", "line"),
    [(name, *case) for name, cases in WEAK.items() for case in cases],
)
def test_a_weak_place_is_found(name: str, rule: str, cwe: str, line: str) -> None:
    found = whole.security(FRAMES[name].format(line, ""), name)
    assert {(f.rule, f.cwe, f.line) for f in found} == {(rule, cwe, 3)}
    assert found[0].tool == "rules"
    assert found[0].column >= 1
    assert found[0].severity in ("low", "medium", "high")


@pytest.mark.parametrize("name", sorted(WEAK))
def test_what_is_only_mentioned_is_no_finding(name: str) -> None:
    quote = "'{}'" if name in ("python", "ruby", "javascript", "typescript", "bash") else '"{}"'
    for rule, _, line in WEAK[name]:
        mention = "".join(c for c in line if c not in "'\"\n\\")
        if rule in ("sql", "download"):
            continue
        code = {
            "java": "String s = {};", "c": "char *s = {};", "cpp": "char *s = {};",
            "csharp": "string s = {};", "go": "s := {}", "rust": "let s = {};",
            "javascript": "const s = {};", "typescript": "const s = {};", "bash": "s={}",
        }.get(name, "s = {}")  # fmt: skip
        code = code.format(quote.format(mention.replace("{", "(").replace("}", ")")))
        assert whole.security(FRAMES[name].format(code, mention), name) == [], code


def test_clean_programs_have_no_findings(language: str) -> None:
    for code in (PROGRAMS[language], LANGUAGES[language].hello):
        assert whole.security(code, language) == []


CLEAN = {
    "python": [
        "import subprocess; subprocess.run(['ls', name])", "import yaml; yaml.safe_load(data)",
        "import yaml; yaml.load(data, Loader=yaml.SafeLoader)", "password = input('Password: ')",
        "password = ''", "token = 'plus'", "password = 'Enter the password'",
        "db.execute('SELECT * FROM t WHERE a = ?', (name,))", "print('select one from the list')",
        "model.eval()", "shell = True", "import hashlib; hashlib.sha256(data)",
        "import hashlib; hashlib.md5(data, usedforsecurity=False)", "self.system('x' + name)",
        "re.compile(name)", "q = 'SELECT * FROM t ' + 'WHERE a = 1'",
    ],
    "c": ['printf("%s", name);', 'scanf("%9s", line);', "fgets(line, 9, stdin);",
          'fprintf(stderr, "x");', 'snprintf(line, 9, "%s", name);', "my_gets(line);"],
    "java": ['String password = System.getenv("P");', "queue.exec(task);",
             'db.prepare("SELECT * FROM t WHERE a = ?");'],
    "go": ['exec.Command("ls", name)', "c := tls.Config{InsecureSkipVerify: false}"],
    "javascript": ["element.textContent = name;", "setTimeout(run, 10);", "regex.exec(name);",
                   "element.innerHTML = '';", "const cp = require('child_process');"
                   " cp.spawn('ls', [name]);"],
    "ruby": ["YAML.safe_load(data)", "object.instance_eval { x }", "password = gets"],
    "rust": ['Command::new("ls").arg(name);', 'let s = format!("{}", name);'],
    "bash": ['rm -rf "$folder/old"', "curl https://example.org", 'bash -c "ls"', "chmod 644 x"],
    "csharp": ["string password = Console.ReadLine();", "int unsafely = 1;"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, lines in CLEAN.items() for line in lines]
)
def test_what_only_looks_weak_is_no_finding(name: str, line: str) -> None:
    assert whole.security(FRAMES[name].format(line, ""), name) == []


def test_a_fixed_command_is_less_bad() -> None:
    assert [f.severity for f in whole.security("import os\nos.system('ls')", "python")] == ["low"]
    assert [f.severity for f in whole.security("import os\nos.system(x)", "python")] == ["high"]


def test_every_rule_is_seen_to_work() -> None:
    """A rule that finds nothing in any of the programs above would be a rule without a test."""
    seen = {(name, rule) for name, cases in WEAK.items() for rule, _, _ in cases}
    untested = {
        (name, rule.rule)
        for rule in rules.RULES
        for name in rule.languages.split()
        if (name, rule.rule) not in seen
    }
    assert untested <= {
        ("java", "evaluate"), ("csharp", "evaluate"), ("javascript", "deserialise"),
        ("typescript", "deserialise"), ("csharp", "hash"), ("javascript", "hash"),
        ("typescript", "hash"), ("rust", "hash"), ("c", "hash"), ("cpp", "hash"), ("bash", "hash"),
        ("rust", "certificate"), ("c", "rights"), ("cpp", "rights"), ("go", "page"),
    }  # fmt: skip


# ------------------------------------------------------------------------------ sizes


def nested(depth: int, name: str = "c") -> str:
    if name == "python":
        lines = [f"{'    ' * level}if x:" for level in range(depth)]
        return "\n".join([*lines, "    " * depth + "pass", ""])
    return "int main(void) {" + "if (x) {" * depth + "}" * depth + "}\n"


def test_sizes_of_functions(language: str) -> None:
    code = PROGRAMS[language]
    assert whole.smells(None, code, language) == []
    body = {"python": "    pass\n", "ruby": "  nil\n", "bash": "  :\n"}.get(language, "    ;\n")
    head = next(line for line in code.splitlines() if "rate" in line.lower()) + "\n"
    start = code.index(head) + len(head)
    long = code[:start] + body * 60 + code[start:]
    found = whole.smells(None, long, language)
    assert [(f.rule, f.line) for f in found] == [("long function", code[:start].count("\n"))]


def test_many_parameters_and_decisions() -> None:
    code = "def f(a, b, c, d, e, g):\n" + "    if a: pass\n" * 10
    assert {f.rule for f in whole.smells(None, code, "python")} == {
        "many parameters", "complex function",
    }  # fmt: skip
    fewer = "def f(a, b, c, d, e):\n" + "    if a: pass\n" * 9
    assert whole.smells(None, fewer, "python") == []


@pytest.mark.parametrize("name", ["c", "python"])
def test_deep_nesting(name: str) -> None:
    assert findings.nesting(nested(5, name), name)[0] == 5
    assert [f.rule for f in whole.smells(None, nested(6, name), name)] == ["deep nesting"]
    assert whole.smells(None, nested(5, name), name) == []


def test_else_if_is_not_deeper() -> None:
    chain = "if (a) {}" + " else if (b) {}" * 20
    for name, code in {
        "c": f"int main(void) {{ {chain} }}", "java": f"class A {{ void f() {{ {chain} }} }}",
        "javascript": chain, "rust": "fn main() { if a {}" + " else if b {}" * 20 + " }",
        "go": "package p\nfunc f() { if a {}" + " else if b {}" * 20 + " }",
        "python": "if a: pass\n" + "elif b: pass\n" * 20,
        "csharp": f"class A {{ void F() {{ {chain} }} }}",
        "ruby": "if a\n" + "elsif b\n" * 20 + "end",
        "bash": "if a; then b; " + "elif c; then d; " * 20 + "fi",
    }.items():  # fmt: skip
        assert findings.nesting(code, name)[0] == 1, name


# ------------------------------------------------------------------------------ tools in the box

SMELLY = """\
# pylint: disable=all
import os

def f(x=[]):
    password = "hunter22"
    return undefined + eval(x)  # nosec
"""


def test_pylint(box: Any) -> None:
    found = whole.pylint(box, SMELLY)
    rules_found = {(f.rule.split()[1], f.line, f.severity) for f in found}
    assert {
        ("unused-import", 2, "medium"), ("undefined-variable", 6, "high"),
        ("dangerous-default-value", 4, "medium"), ("unused-variable", 5, "medium"),
    } <= rules_found  # fmt: skip
    assert {f.tool for f in found} == {"pylint"}


def test_bandit(box: Any) -> None:
    found = whole.bandit(box, SMELLY)
    assert {(f.rule.split()[0], f.line, f.cwe) for f in found} >= {
        ("B105", 5, "CWE-259"), ("B307", 6, "CWE-78"),
    }  # fmt: skip


def test_a_clean_program_pleases_every_tool_of_python(real: Sandbox) -> None:
    code = LANGUAGES["python"].hello
    assert whole.smell_report(real, code, "python") == whole.Report(
        (), {"sizes": "done", "pylint": "done"}
    )
    assert whole.security_report(real, code, "python") == whole.Report(
        (), {"rules": "done", "bandit": "done"}
    )


BAD_STYLE = {
    "c": ("int main(void) {\n    int x;\n    return 0;\n}\n", "gcc", "-Wunused-variable", 2),
    "cpp": ("int main() {\n    int x;\n    return 0;\n}\n", "g++", "-Wunused-variable", 2),
    "bash": ("x=1\necho $y\n# shellcheck disable=SC2086\necho $1\n", "shellcheck", "SC2086", 4),
    "java": (
        "import java.util.*;\nclass Main {\n    List x = new ArrayList();\n}\n", "javac",
        "rawtypes", 3,
    ),
    "csharp": (
        "class P {\n    static void Main() {\n        int x = 1;\n    }\n}\n", "mcs", "CS0219", 3,
    ),
    "ruby": ("def f\n  x = 1\nend\n", "ruby -w", "warning", 2),
    "rust": ("fn main() {\n    let x = 1;\n}\n", "rustc", "warning", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BAD_STYLE))
def test_the_languages_own_tool(real: Sandbox, name: str) -> None:
    need(real, name)
    code, tool, rule, line = BAD_STYLE[name]
    report = whole.smell_report(real, code, name)
    if name == "bash" and report.tools["shellcheck"] != "done":
        pytest.skip(report.tools["shellcheck"])
    assert report.tools == {"sizes": "done", tool: "done"}
    assert (tool, rule, line) in {(f.tool, f.rule, f.line) for f in report.findings}
    clean = whole.smell_report(real, LANGUAGES[name].hello, name)
    assert clean.findings == (), clean


def test_gcc_follows_the_ways_of_a_program(real: Sandbox) -> None:
    need(real, "c")
    code = (
        "#include <stdlib.h>\nint main(void) {\n  void *p = malloc(3);\n  free(p);\n  free(p);\n}\n"
    )
    report = whole.security_report(real, code, "c")
    if report.tools["gcc -fanalyzer"] != "done":
        pytest.skip(report.tools["gcc -fanalyzer"])
    assert [(f.line, f.cwe) for f in report.findings] == [(5, "CWE-415")]
    assert whole.security_report(real, LANGUAGES["c"].hello, "c").findings == ()


def test_findings_of_several_tools_stand_in_the_order_of_their_lines(real: Sandbox) -> None:
    found = whole.smells(real, "import os\n\n\ndef f(a, b, c, d, e, g):\n    pass\n", "python")
    assert {"pylint", "sizes"} == {finding.tool for finding in found}
    assert [finding.line for finding in found] == sorted(finding.line for finding in found)
    assert found[0].tool == "pylint"


def test_without_a_box_the_tools_say_so() -> None:
    for name in LANGUAGES:
        report = whole.smell_report(None, PROGRAMS[name], name)
        assert report.tools.pop("sizes") == "done"  # type: ignore[attr-defined]
        assert all("needs a sandbox" in said for said in report.tools.values())
        assert report.tools


class Answering(Plain):
    """A box whose programs answer what they are told to."""

    def __init__(self, *answers: Execution | UsageError) -> None:
        super().__init__()
        self.answers = list(answers)

    def execute(self, argv: Sequence[str], *rest: Any, **more: Any) -> Execution:
        self.calls.append(list(argv))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, UsageError):
            raise answer
        return answer


@pytest.mark.parametrize(
    "out",
    [b"", b"{", b"[]", b"null", b'{"messages": 3}', b'{"messages": [3]}', b"\xff" * 100,
     b"[" * 100_000, b'{"messages": [{"line": "x", "message": null, "column": -5}]}',
     b'{"results": [{"issue_cwe": 3}]}', b'{"comments": [{"code": [], "line": true}]}'],
)  # fmt: skip
def test_what_a_tool_writes_is_not_trusted(out: bytes) -> None:
    odd: Any = Answering(Execution(0, stdout=out, stderr=b"\xff last"))
    for ask in (whole.pylint, whole.bandit, findings.shellcheck):
        try:
            found = ask(odd, "x = 1")
        except SandboxError:  # it says that there was no report
            continue
        json.dumps([f.__dict__ for f in found])
        assert all(isinstance(f.line, int) and f.line >= 0 for f in found)


def test_a_tool_that_fails_is_named() -> None:
    slow: Any = Answering(Execution(None, killed_for="cpu"))
    report = whole.smell_report(slow, "x = 1", "python")
    assert report.tools["pylint"] == "not available: pylint was ended: its limit of cpu"
    refused: Any = Answering(UsageError("/root/x can be read by its owner only: name it."))
    report = whole.security_report(refused, "x = 1", "python")
    assert "packages()" in report.tools["bandit"]
    assert report.tools["rules"] == "done"
    absent: Any = Answering(Execution(127))
    assert "install shellcheck" in whole.smell_report(absent, "x=1", "bash").tools["shellcheck"]


def test_what_is_needed_for_an_extra_only_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needs = {"a": ["b>=1", 'c; extra == "more"'], "b": None, "c": None}
    for name in needs:
        (tmp_path / name).mkdir()

    def distribution(name: str) -> Any:
        return SimpleNamespace(
            files=[Path(name, "__init__.py")], requires=needs[name], locate_file=tmp_path.joinpath
        )

    monkeypatch.setattr("importlib.metadata.distribution", distribution)
    shown = findings.places.__wrapped__("a")
    assert shown == (str(tmp_path / "a"), str(tmp_path / "b"))


def test_only_what_a_tool_needs_is_shown() -> None:
    shown = findings.places("coverage")
    assert {Path(place).name.split("-")[0] for place in shown} == {"coverage"}
    names = {Path(place).name for place in findings.places("pylint")}
    assert {"pylint", "astroid"} <= names
    assert not names & {"torch", "numpy", "helpers"}
    with pytest.raises(NotAvailable, match="no-such-package"):
        findings.places("no-such-package")


# ------------------------------------------------------------------------------ coverage

BRANCHY = """\
number = int(input())
if number > 100:
    print("large")
elif number > 50:  # pragma: no cover
    print("middle")
else:
    print("small")
for turn in range(number):
    if turn > 2:
        break
else:
    print("all")
"""


def test_coverage_by_hand(box: Any) -> None:
    one, two, broken = whole.coverage_per_test(box, BRANCHY, given("200", "1", "x"))
    assert one.executed == {1, 2, 3, 8, 9, 10}
    assert one.missing == {4, 5, 7, 12}
    assert two.executed == {1, 2, 4, 7, 8, 9, 12}
    assert one.rate == pytest.approx(0.6)
    assert (one.failed, broken.failed) == ("", "ValueError in line 1")
    assert broken.executed == {1}
    assert (2, 3) in one.arcs
    assert (2, 4) in two.arcs
    assert all(run.measured for run in (one, two, broken))
    assert two.branches[0] < two.branches[1]


def test_a_test_never_lowers_the_union(box: Any) -> None:
    runs = whole.coverage_per_test(box, BRANCHY, given("60", "x", "200", "1", "200"))
    union: frozenset[int] = frozenset()
    sizes = []
    for run in runs:
        union |= run.executed
        sizes.append(len(union))
    assert sizes == sorted(sizes)
    assert sizes[-1] >= max(len(run.executed) for run in runs)
    assert sizes[-1] == 10


ENDS = {
    "import sys\nsys.exit()": "",
    "import sys\nsys.exit(3)": "exit status 3",
    "import sys\nsys.exit('no')": "exit status 1",
    "import os\nos._exit(4)": "exit status 4",
    "import os\nos._exit(0)": "",
    "raise ValueError": "ValueError in line 1",
    "import json\njson.loads('{')": "JSONDecodeError in line 2",
    "def f():\n    f()\nf()": "RecursionError in line ",
    "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)": "signal 9",
    "x = bytearray(1 << 40)": "MemoryError in line 1",
    "import sys\nsys.stdout.buffer.write(b'x')\nprint(open(0).read())": "",
    "import threading\nthreading.Thread(target=print).start()": "",
    "import sys, io\nsys.stdin = io.StringIO('7')\nassert input() == '7'": "",
    "assert __name__ == '__main__'\nimport __main__\nassert __main__.__file__ == 'main.py'": "",
    "import os\nif not os.fork():\n    os._exit(9)\nos.wait()": "",
    "import os, time\nif not os.fork():\n    time.sleep(100)": "",
    "import atexit\natexit.register(print, 1)": "",
    "import sys\nsys.stdout.close()": "",
    "import os\nos.closerange(0, 3)\nprint(1)": "OSError",
    "from os import environ\nassert 'PYTHONPATH' not in environ": "",
}


def test_every_end_has_its_name(box: Any) -> None:
    for code, expected in ENDS.items():
        (run,) = whole.coverage_per_test(box, code, [Test()])
        assert run.failed.startswith(expected), (code, run)
        assert bool(run.failed) == bool(expected), (code, run)
        assert run.measured == (expected != "signal 9"), (code, run)


def test_a_test_knows_nothing_of_the_others(box: Any) -> None:
    code = """\
import builtins, os
assert not hasattr(builtins, "seen")
builtins.seen = 1
open("main.py", "w").write("broken(")
os.chdir("/")
"""
    runs = whole.coverage_per_test(box, code, given("", "", ""))
    assert [run.failed for run in runs] == ["", "", ""]
    assert all(run.rate == 1 for run in runs)


def test_an_endless_test_counts_with_what_it_executed(real: Sandbox) -> None:
    code = "x = input()\nwhile x == '1':\n    pass\nimport time\ntime.sleep(100 * (x == '2'))\n"
    slow, lazy, well = whole.coverage_per_test(real, code, given("1", "2", "3"), seconds=0.3)
    assert (slow.failed, slow.executed) == ("Slow", {1, 2, 3})
    assert (lazy.failed, lazy.measured) == ("Slow", False)
    assert (well.failed, well.missing) == ("", {3})


def test_a_report_cannot_be_written_by_simple_means(real: Sandbox) -> None:
    """Neither by print, nor to the descriptors of the driver, nor by its name."""
    code = """\
import json, os, sys
lie = json.dumps({"statements": [1], "rows": [{"statements": [1], "missing": [], "failed": "",
                  "arcs": [], "branches": [9, 9], "measured": True}], "token": ""}).encode()
print(lie)
for number in range(3, 64):
    try:
        os.write(number, lie)
    except OSError:
        pass
module = sys.modules["__main__"]
for name in dir(module):
    assert "report" not in name and "nonce" not in name.lower()
assert len(open("/proc/self/cmdline").read()) < 200
if not sys.stdin.read():
    print("reached")
else:
    print("not reached")
"""
    (run,) = whole.coverage_per_test(real, code, given(""))
    if run.measured:
        assert 17 in run.missing
        assert run.branches != (9, 9)
    else:
        assert run.executed == frozenset()


def test_a_report_without_the_word_of_its_run_is_not_believed(real: Sandbox) -> None:
    """The program finds the way on which its own report would go, writes there, and ends."""
    code = """\
import json, os
lie = {"statements": [1], "missing": [], "failed": "", "arcs": [], "branches": [9, 9], "token": ""}
for number in range(3, 64):
    try:
        os.write(number, json.dumps(lie).encode())
    except OSError:
        pass
os.kill(os.getpid(), 9)
"""
    (run,) = whole.coverage_per_test(real, code, given(""))
    assert not run.measured
    assert run.branches == (0, 0)


def test_a_run_has_one_way_out_and_leaves_the_program_as_it_was(real: Sandbox) -> None:
    code = """\
import os
ways = [os.readlink(f"/proc/self/fd/{n}") for n in range(3, 64) if os.path.exists(f"/proc/self/fd/{n}")]
assert len([way for way in ways if way.startswith("pipe:")]) == 1, ways
with open("main.py") as file:
    assert file.read().count("spoiled") == 2
with open("main.py", "a") as file:
    file.write("# spoiled")
"""  # noqa: E501
    runs = whole.coverage_per_test(real, code, given("", ""))
    assert [run.failed for run in runs] == ["", ""]
    assert whole.profile(real, code)["failed"] == ""
    assert whole.fuzz(real, code, ["x"], budget=5).failures == {}


def test_a_program_that_ends_its_observer_gets_no_report(real: Sandbox) -> None:
    with pytest.raises(SandboxError, match="could not be observed"):
        whole.coverage_per_test(real, "import os\nos.kill(os.getppid(), 9)\n", [Test()])


# ------------------------------------------------------------------------------ profile


def test_profile_by_hand(box: Any) -> None:
    code = """\
def work(n):
    total = 0
    for i in range(n):
        total += i
    return total

for _ in range(5):
    work(10)
print(input())
"""
    found = whole.profile(box, code, "hello")
    assert found["failed"] == ""
    rows = {row["function"]: row for row in found["functions"]}
    assert rows["main.py:1(work)"]["ncalls"] == 5
    assert rows["main.py:1(<module>)"]["ncalls"] == 1
    assert all(row["tottime"] <= row["cumtime"] + 1e-9 for row in rows.values())
    assert not any("driver.py" in name for name in rows)
    assert {line: hits for line, hits, _ in found["lines"]} == {
        1: 1, 2: 5, 3: 55, 4: 50, 5: 5, 7: 6, 8: 5, 9: 1,
    }  # fmt: skip
    assert all(seconds >= 0 for _, _, seconds in found["lines"])
    json.dumps(found)


def test_time_is_where_it_is_spent(box: Any) -> None:
    code = (
        "def slow():\n    return sum(range(400_000))\ndef quick():\n    return 1\nslow()\nquick()\n"
    )
    found = whole.profile(box, code)
    assert found["functions"][0]["function"] == "main.py:1(<module>)"
    seconds = {line: spent for line, _, spent in found["lines"]}
    assert seconds[2] > 10 * seconds[4]
    assert seconds[5] >= seconds[2]


def test_a_program_that_cannot_be_observed_has_no_profile(real: Sandbox) -> None:
    """It ends its own process before that can report."""
    with pytest.raises(SandboxError, match="could not be observed"):
        whole.profile(real, "import os\nos.kill(os.getpid(), 9)\n")


# ------------------------------------------------------------------------------ fuzzing

PLANTED = """\
words = input().split()
numbers = [int(word) for word in words if word.lstrip("-").isdigit()]
if len(numbers) > 2:
    if numbers[0] == numbers[2]:
        print(numbers[5])
print(sum(numbers))
"""


def test_a_planted_crash_is_found(box: Any) -> None:
    found = whole.fuzz(box, PLANTED, ["1 2 3\n"], budget=150)
    assert found.tried == 150
    assert found.complete
    assert "IndexError in line 5" in found.failures
    text = found.failures["IndexError in line 5"]
    assert len(text) <= 6
    numbers = text.split()
    assert len(numbers) > 2
    assert numbers[0] == numbers[2]
    assert found.corpus[0] == "1 2 3\n"
    assert found.arcs > 5


def test_the_same_seed_gives_the_same_answer(box: Any) -> None:
    one, other, third = (whole.fuzz(box, PLANTED, ["1 2 3"], budget=60, seed=s) for s in (3, 3, 4))
    assert one == other
    assert one != third


def test_coverage_leads_the_search(real: Sandbox) -> None:
    """Each digit of a number is one line further: a blind search would need far more."""
    code = """\
x = input()
if x[:1] == "7":
    if x[1:2] == "2":
        if x[2:3] == "9":
            1 / 0
"""
    found = whole.fuzz(real, code, ["1"], budget=600, seed=1)
    assert found.failures.get("ZeroDivisionError in line 5", "").startswith("729")


def test_an_oracle(box: Any) -> None:
    right = "a, b = map(int, input().split())\nprint(a // b)\n"
    wrong = "a, b = map(int, input().split())\nprint(int(a / b))\n"
    found = whole.fuzz(box, wrong, ["7 2"], oracle=right, budget=80)
    assert "differs from the oracle" in found.failures
    a, b = map(int, found.failures["differs from the oracle"].split())
    assert a // b != int(a / b)
    same = whole.fuzz(box, right, ["7 2"], oracle=right, budget=40)
    assert same.failures == {}  # where the oracle fails too, the input is wrong


def test_slow_inputs_and_odd_ends(real: Sandbox) -> None:
    code = "import os\nx = input()\nwhile x == '0': pass\nif x == '1': os._exit(3)\nprint(x)\n"
    found = whole.fuzz(real, code, ["0", "1", "2", ""], budget=4, seconds=0.2)
    assert found.failures == {
        "Slow": "0", "exit status 3": "1", "EOFError in line 2": "",
    }  # fmt: skip


def test_two_hundred_inputs_take_seconds(real: Sandbox) -> None:
    began = time.process_time()
    wall = time.monotonic()
    found = whole.fuzz(real, "print(int(input()) + 1)\n", ["5"], budget=200)
    assert found.tried == 200
    assert time.process_time() - began < 2
    assert time.monotonic() - wall < 60  # about one second on a machine that is free


# ------------------------------------------------------------------------------ wrong input


@pytest.mark.parametrize("code", ["def f(:", "\0", "x = '\udcff'", "(" * 90_000, "x" * 200_000])
def test_what_is_no_python_is_refused(box: Any, code: str) -> None:
    for ask in (
        lambda: whole.coverage_per_test(box, code, [Test()]),
        lambda: whole.profile(box, code),
        lambda: whole.fuzz(box, code, budget=1),
        lambda: whole.fuzz(box, "1", oracle=code, budget=1),
    ):
        with pytest.raises(UsageError):
            ask()


def test_wrong_numbers() -> None:
    plain: Any = Plain()
    for budget in (0, -1, 10**9, 1.5, None):
        with pytest.raises(UsageError, match="budget"):
            whole.fuzz(plain, "1", budget=budget)  # type: ignore[arg-type]
    for seconds in (0, -1, 100, "1", float("nan")):
        with pytest.raises(UsageError, match="seconds"):
            whole.fuzz(plain, "1", seconds=seconds)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seed"):
        whole.fuzz(plain, "1", seed=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="tests"):
        whole.coverage_per_test(plain, "1", [Test()] * 501)
    assert plain.calls == []


def test_no_test_covers_nothing(real: Sandbox) -> None:
    assert whole.coverage_per_test(real, "x = 1", []) == []
    (run,) = whole.coverage_per_test(real, "", [Test()])
    assert (run.rate, run.failed) == (1.0, "")


# ------------------------------------------------------------------------------ all together


def test_all_families_of_python(real: Sandbox) -> None:
    found = whole.analyse(SMELLY + "f('1')\n", "python", real, given("", "x"))
    assert found.families == whole.FAMILIES
    assert {name for name, said in found.tools.items() if said == "done"} == {
        "sizes", "pylint", "rules", "bandit",
    }  # fmt: skip
    data = json.loads(found.to_json())
    for name in whole.FAMILIES:
        assert not isinstance(data[name], str), (name, data[name])
    assert [graph["name"] for graph in data["basic"]["cfg"]] == ["<module>", "f"]
    assert data["basic"]["calls"]["<module>"] == ["f"]
    assert data["coverage"]["union"] == 1.0
    assert data["coverage"]["tests"][0]["failed"] == "NameError in line 6"
    assert data["fuzzing"]["failures"] == {"NameError in line 6": ""}
    assert data["efficiency"]["runs"][0]["verdict"] == "runtime error"
    official = whole.official(found)
    json.dumps(official, allow_nan=False)
    assert set(official) == {
        "code_basic_analysis", "code_smell_analysis", "code_bug_analysis", "unit_test_analysis",
        "code_efficiency_evaluation", "fuzzing", "tools",
    }  # fmt: skip
    assert isinstance(official["code_basic_analysis"]["ast"], str)
    assert official["code_basic_analysis"]["cfg"].count("flowchart TD") == 2
    (row, _) = official["unit_test_analysis"]
    assert {"Unit Input", "Total Lines", "Miss", "Cover Rate"} <= set(row)
    assert (row["Total Lines"], row["Miss"]) == (5, 0)
    (entry,) = official["code_efficiency_evaluation"]
    assert {"Unit Input", "Total Calls", "Total Time", "Functions"} <= set(entry)
    assert {"ncalls", "tottime", "percall", "cumtime", "function location"} <= set(
        entry["Functions"][0]
    )


def test_every_language_has_tree_complexity_and_smells(language: str) -> None:
    found = whole.analyse(PROGRAMS[language], language)
    json.loads(found.to_json())
    json.dumps(whole.official(found), allow_nan=False)
    assert found.basic["ast"].count("\n") > 5
    assert found.basic["measures"]["cyclomatic complexity"] in (8, 9)
    assert found.smells == found.security == []
    for name in ("coverage", "efficiency", "fuzzing"):
        assert getattr(found, name).startswith("not available: ")
    if language != "python":
        assert found.basic["cfg"].startswith("not available: only for Python")
    assert found.tools["sizes"] == found.tools["rules"] == "done"


def test_what_is_not_available_says_why(real: Sandbox) -> None:
    need(real, "bash")
    families = ("coverage", "efficiency", "fuzzing")
    found = whole.analyse("echo hi", "bash", real, given(""), families)
    assert found.coverage == found.fuzzing == "not available: only for Python, not for Bash"
    assert found.efficiency["functions"].startswith("not available: only for Python")
    assert found.efficiency["runs"][0]["verdict"] == "accepted"
    assert found.efficiency["runs"][0]["cpu_seconds"] >= 0
    assert found.basic is None
    assert whole.official(found)["unit_test_analysis"] == found.coverage


def test_a_program_that_does_not_parse(real: Sandbox) -> None:
    found = whole.analyse("def f(:\n", "python", real, given(""))
    for said in (found.basic["ast"], found.basic["cfg"], found.coverage, found.fuzzing):
        assert said.startswith("not available: It is not Python: ")
    assert found.basic["syntax errors in lines"] == [1]
    assert [f["rule"].split()[1] for f in found.smells if f["tool"] == "pylint"] == ["syntax-error"]
    json.dumps(whole.official(found), allow_nan=False)


@pytest.mark.parametrize("code", ["", "\0", "\ud800", "(" * 90_000, "x = '\udcff'\n"])
def test_odd_programs_are_analysed_or_refused(code: str, language: str) -> None:
    found = whole.analyse(code, language)
    json.dumps(whole.official(found), allow_nan=False)
    assert found.security is not None


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="smells"):
        whole.analyse("x", "python", families=["smell"])
    with pytest.raises(UsageError, match="cobol"):
        whole.analyse("x", "cobol")
    with pytest.raises(UsageError, match="100000"):
        whole.analyse("x" * 200_000, "python")
    with pytest.raises(UsageError, match="text"):
        whole.analyse(b"x", "python")  # type: ignore[arg-type]
    assert whole.analyse("x", "C++", families="smells").language == "cpp"


def test_the_library_is_not_needed_to_begin() -> None:
    """Nothing heavy is imported with the package."""
    code = (
        "import sys, helpers.sandbox.analysis; "
        "print(sorted({'tree_sitter', 'lizard', 'radon', 'coverage', 'pylint', 'astroid', 'bandit',"
        "'numpy', 'torch'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_driver_is_whole() -> None:
    assert dynamic._driver() == Path(dynamic.__file__).with_name("driver.py").read_bytes()
    assert metrics.cyclomatic(dynamic._driver().decode(), "python")
