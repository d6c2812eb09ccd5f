"""From a function problem and a completion to one whole program whose exit status is the verdict.

The sets were made for test programs of their own, with libraries that a sandbox does not have. What
their tests need of these (an assertion library, random numbers, MD5 …) is written here again, as
small as it can be, and goes into the program only where the program names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from helpers.data.records import Problem
from helpers.project import UsageError


def assemble(problem: Problem, completion: str, *, examples: bool = False, mark: str = "") -> str:
    """Return the whole program that tests a completion: it ends with exit status 0 if all is right.

    For a stdin problem the completion is the program, and comes back as it is.

    A completion runs in the same process as its tests. So one that ends the program early, with
    status 0, passes for right. With ``mark`` the program writes this line as its last act: expect
    it as output, and such a completion fails. (One that reads its own source can still cheat.)

    Parameters
    ----------
    problem : of `helpers.data.programs`
    completion : what comes after ``problem.prompt``, such as ``problem.solution``
    examples : use the few tests that the statement shows, instead of all
    mark : a line without quotes or backslashes to be written in the end

    Raises
    ------
    UsageError : if the problem shows no tests, or for a mark with other characters, or a mark for a
        stdin problem
    """
    if mark and not re.fullmatch(r"[A-Za-z0-9 _-]+", mark):
        raise UsageError(f"mark is {mark!r}: give letters, digits, blanks, - and _ only.")
    if problem.kind == "stdin":
        if examples or mark:
            raise UsageError(f"{problem.id} is a stdin problem: its tests are pairs of texts.")
        return completion
    tests = problem.example_program if examples else problem.test_program
    if not tests:
        raise UsageError(f"{problem.id} shows no tests: leave out examples=True.")
    build = _FORMS.get((problem.form, problem.language), _plain)
    ending = _MARKS.get(problem.language) if mark else None
    if mark and ending is None:
        raise UsageError(f"A program in {problem.language} cannot be given a mark.")
    return build(problem.prompt, completion, tests, ending(mark) if ending else "")


# What writes the mark. Where a program has a main function, this goes into a new one.
_MARKS: dict[str, Callable[[str], str]] = {
    "python": lambda mark: f'print("{mark}")',
    "javascript": lambda mark: f'console.log("{mark}");',
    "typescript": lambda mark: f'console.log("{mark}");',
    "bash": lambda mark: f'echo "{mark}"',
    "java": lambda mark: f'System.out.println("{mark}");',
    "cpp": lambda mark: f'puts("{mark}");',
    "go": lambda mark: f'fmt_.Println("{mark}")',
    "rust": lambda mark: f'println!("{mark}");',
}


def _plain(prompt: str, completion: str, tests: str, ending: str) -> str:
    parts = [prompt + completion, tests.rstrip("\n"), ending]
    return "\n".join(part for part in parts if part) + "\n"


def _javascript(prompt: str, completion: str, tests: str, ending: str) -> str:
    """`console.assert` only writes a message: let it fail. MD5 comes from node itself."""
    head = _JS_ASSERT + (_JS_MD5 if "js-md5" in completion else "")
    return head + _plain(prompt, completion, tests, ending)


def _cpp(prompt: str, completion: str, tests: str, ending: str) -> str:
    code = _plain(prompt, completion, tests, "")
    for header, text in _CPP_HEADERS.items():
        code = text.join(re.split(rf"#include ?<{re.escape(header)}>", code))
    if ending:
        # Not int: its own main returns nothing, which only main may.
        code = re.sub(r"\bint main\(\) ?\{", "static void book_tests() {", code)
        code = f"#include <stdio.h>\n{code}\nint main() {{\n    book_tests();\n    {ending}\n}}\n"
    return code


def _java(prompt: str, completion: str, tests: str, ending: str) -> str:
    if ending:
        main = "public static void main(String[] args)"
        call = f"{main} throws Exception {{ bookTests(args); {ending} }}\n    "
        tests = tests.replace(main, f"{call}static void bookTests(String[] args)")
    return _plain(prompt, completion, tests, "")


def _java_multipl_e(prompt: str, completion: str, tests: str, ending: str) -> str:
    """Java leaves out assertions unless it is told to make them: make them calls."""
    prompt = prompt.replace("import org.javatuples.*;\n", "")
    prompt = prompt.replace("class Problem {", "class Problem {\n" + _JAVA_ASSERT, 1)
    code = _java(prompt, completion, tests.replace("assert(", "bookAssert("), ending)
    return code + (_JAVA_PAIR if "Pair" in code else "")


def _go(prompt: str, completion: str, tests: str, ending: str) -> str:
    """One package with the tests as functions, and with the imports that the code names.

    Go refuses an import that is not used, so what a prompt imports cannot be kept as it is.
    """
    listed = re.findall(r'"([\w./]+)"', "".join(_GO_IMPORTS.findall(f"{prompt}\n{tests}")))
    code = _GO_IMPORTS.sub("", re.sub(r"(?m)^package \w+$", "", prompt + completion))
    tests = _GO_IMPORTS.sub("", re.sub(r"(?m)^package \w+$", "", tests))
    tests = tests.replace("testing.T", "testingT")
    bare = _GO_TEXT.sub(" ", f"{code}\n{tests}")
    known = {path.rpartition("/")[2]: path for path in [*_GO_PACKAGES, *listed]}
    shimmed = ("assert", "testing")
    used = [
        path
        for name, path in sorted(known.items())
        if name not in shimmed and re.search(rf"(?<![\w.]){name}\.", bare)
    ]
    names = re.findall(r"(?m)^func (Test\w+)\(", tests)
    if not names:
        raise UsageError("The tests hold no function whose name begins with Test.")
    imports = "".join(f'\t"{path}"\n' for path in used)
    calls = "".join(f"\t{name}(t)\n" for name in names)
    ending = f"\t{ending}\n" if ending else ""
    main = f"func main() {{\n\tt := &testingT{{}}\n{calls}\tt.end()\n{ending}}}\n"
    head = f'package main\n\nimport (\n{imports}\tbytes_ "bytes"\n\tfmt_ "fmt"\n\tos_ "os"\n'
    return f'{head}\treflect_ "reflect"\n)\n\n{code}\n{tests}\n{_GO_TESTING}\n{main}'


def _rust(prompt: str, completion: str, tests: str, ending: str) -> str:
    """Tests as plain functions that main calls; of the crates, only what is used, from here."""
    prompt = re.sub(r"(?m)^fn main\(\) ?\{ ?\}$", "", prompt)
    prompt = re.sub(r"(?m)^use (rand::Rng|regex::Regex|md5);$", "", prompt)
    code = prompt + completion
    marked = max(1, tests.count("#[test]"))
    tests = tests.replace("#[cfg(test)]", "").replace("\nmod tests {", "\nmod book_tests {")
    between = r"(?:\s|//[^\n]*\n)*"  # a test and its mark may have comments between them
    tests, found = re.subn(rf"#\[test\]{between}(?:pub )?fn ", "pub fn ", tests)
    names = re.findall(r"\bpub fn (\w+)\(\)", tests)
    if not found == len(names) == marked:
        raise UsageError("The tests hold no function with #[test], or one in an odd place.")
    calls = "".join(f"    book_tests::{name}();\n" for name in names)
    ending = f"    {ending}\n" if ending else ""
    shims = "".join(
        text for mark, text in _RUST_CRATES.items() if re.search(mark, f"{code}\n{tests}")
    )
    return f"#![allow(warnings)]\n{code}\n{tests}\n{shims}\nfn main() {{\n{calls}{ending}}}\n"


def _rust_multipl_e(prompt: str, completion: str, tests: str, ending: str) -> str:
    code = "#![allow(warnings)]\n" + _plain(prompt, completion, tests, "")
    if ending:
        code = code.replace("fn main() {", "fn book_tests() {")
        code += f"fn main() {{\n    book_tests();\n    {ending}\n}}\n"
    return code


_FORMS: dict[tuple[str, str], Callable[[str, str, str, str], str]] = {
    ("humanevalpack", "javascript"): _javascript,
    ("humanevalpack", "java"): _java,
    ("humanevalpack", "cpp"): _cpp,
    ("humanevalpack", "go"): _go,
    ("humanevalpack", "rust"): _rust,
    ("multipl-e", "java"): _java_multipl_e,
    ("multipl-e", "cpp"): _cpp,
    ("multipl-e", "go"): _go,
    ("multipl-e", "rust"): _rust_multipl_e,
}

# ------------------------------------------------------------------ what the tests need

_JS_ASSERT = """\
console.assert = (holds, ...words) => {
  if (!holds) throw new Error(['Assertion failed', ...words].join(' '));
};
"""

_JS_MD5 = """\
var require = ((own) => (name) => name !== 'js-md5' ? own(name) :
  (text) => own('crypto').createHash('md5').update(text).digest('hex'))(require);
"""

_JAVA_ASSERT = """\
    static void bookAssert(boolean holds) {
        if (!holds) {
            throw new AssertionError();
        }
    }
"""

_JAVA_PAIR = """
final class Pair<A, B> {
    private final A first;
    private final B second;

    private Pair(A first, B second) {
        this.first = first;
        this.second = second;
    }

    static <A, B> Pair<A, B> with(A first, B second) {
        return new Pair<>(first, second);
    }

    A getValue0() {
        return first;
    }

    B getValue1() {
        return second;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Pair
            && java.util.Objects.equals(first, ((Pair<?, ?>) other).first)
            && java.util.Objects.equals(second, ((Pair<?, ?>) other).second);
    }

    @Override
    public int hashCode() {
        return java.util.Objects.hash(first, second);
    }

    @Override
    public String toString() {
        return "[" + first + ", " + second + "]";
    }
}
"""

# MD5 as in RFC 1321: the sines give the constants, four rows of shifts the rotations.
_CPP_MD5 = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <string>
struct MD5_CTX { std::string text; };
inline int MD5_Init(MD5_CTX *c) { c->text.clear(); return 1; }
inline int MD5_Update(MD5_CTX *c, const void *data, size_t size) {
    c->text.append((const char *)data, size);
    return 1;
}
inline int MD5_Final(unsigned char *out, MD5_CTX *c) {
    static const int turns[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    std::string text = c->text;
    uint64_t bits = 8 * (uint64_t)text.size();
    text += (char)0x80;
    while (text.size() % 64 != 56) text += (char)0;
    for (int i = 0; i < 8; i++) text += (char)(bits >> (8 * i));
    uint32_t h[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    for (size_t at = 0; at < text.size(); at += 64) {
        uint32_t w[16], a = h[0], b = h[1], d = h[3], k = h[2];
        for (int i = 0; i < 64; i++) {
            const unsigned char *p = (const unsigned char *)text.data() + at + 4 * (i % 16);
            if (i < 16) w[i] = p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
        }
        for (int i = 0; i < 64; i++) {
            uint32_t f;
            int g;
            if (i < 16) { f = (b & k) | (~b & d); g = i; }
            else if (i < 32) { f = (d & b) | (~d & k); g = (5 * i + 1) % 16; }
            else if (i < 48) { f = b ^ k ^ d; g = (3 * i + 5) % 16; }
            else { f = k ^ (b | ~d); g = 7 * i % 16; }
            f += a + w[g] + (uint32_t)floor(fabs(sin(i + 1.0)) * 4294967296.0);
            int turn = turns[i / 16][i % 4];
            a = d; d = k; k = b;
            b += f << turn | f >> (32 - turn);
        }
        h[0] += a; h[1] += b; h[2] += k; h[3] += d;
    }
    for (int i = 0; i < 16; i++) out[i] = (unsigned char)(h[i / 4] >> (8 * (i % 4)));
    return 1;
}
"""

_CPP_HEADERS = {
    "openssl/md5.h": _CPP_MD5,
    "boost/any.hpp": "\n#include <any>\nnamespace boost { using std::any; using std::any_cast; }\n",
}

_GO_IMPORTS = re.compile(r'(?m)^import (?:\((?:\s*(?:\w+ )?"[\w./]+")*\s*\)|"[\w./]+")')
_GO_TEXT = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|`[^`]*`|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL
)
_GO_PACKAGES = (
    "bufio", "bytes", "container/heap", "container/list", "crypto/md5", "encoding/hex", "errors",
    "fmt", "math", "math/big", "math/bits", "math/cmplx", "math/rand", "os", "reflect", "regexp",
    "sort", "strconv", "strings", "time", "unicode", "unicode/utf8",
)  # fmt: skip

_GO_TESTING = """
type testingT struct {
	failed bool
}

func (t *testingT) Errorf(format string, words ...interface{}) {
	t.failed = true
	fmt_.Fprintf(os_.Stderr, format+"\\n", words...)
}

func (t *testingT) Run(name string, test func(t *testingT)) bool {
	part := &testingT{}
	test(part)
	t.failed = t.failed || part.failed
	return !part.failed
}

func (t *testingT) end() {
	if t.failed {
		os_.Exit(1)
	}
}

type assertions struct {
	t *testingT
}

type assertMaker struct{}

var assert assertMaker

func (assertMaker) New(t *testingT) *assertions {
	return &assertions{t}
}

func (a *assertions) Equal(expected, actual interface{}, words ...interface{}) bool {
	one, first := expected.([]byte)
	two, second := actual.([]byte)
	same := reflect_.DeepEqual(expected, actual)
	if first && second && one != nil && two != nil {
		same = bytes_.Equal(one, two)
	}
	if !same {
		a.t.Errorf("not equal: expected %v, actual %v", expected, actual)
	}
	return same
}
"""

_RUST_RAND = r"""
mod rand {
    use std::cell::Cell;

    thread_local!(static STATE: Cell<u64> = Cell::new(0x9e3779b97f4a7c15));

    pub trait Number {
        fn from_bits(bits: u64) -> Self;
        fn between(bits: u64, low: Self, high: Self) -> Self;
    }

    macro_rules! whole {
        ($($kind:ty)*) => {$(
            impl Number for $kind {
                fn from_bits(bits: u64) -> Self {
                    bits as $kind
                }
                fn between(bits: u64, low: Self, high: Self) -> Self {
                    (low as i128 + bits as i128 % (high as i128 - low as i128)) as $kind
                }
            }
        )*};
    }
    whole!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

    impl Number for f64 {
        fn from_bits(bits: u64) -> Self {
            (bits >> 11) as f64 / (1u64 << 53) as f64
        }
        fn between(bits: u64, low: Self, high: Self) -> Self {
            low + f64::from_bits_of(bits) * (high - low)
        }
    }

    trait Unit {
        fn from_bits_of(bits: u64) -> f64;
    }

    impl Unit for f64 {
        fn from_bits_of(bits: u64) -> f64 {
            <f64 as Number>::from_bits(bits)
        }
    }

    pub struct ThreadRng;

    pub trait Rng {
        fn next_u64(&mut self) -> u64;

        fn gen<T: Number>(&mut self) -> T {
            T::from_bits(self.next_u64())
        }

        fn gen_range<T: Number>(&mut self, low: T, high: T) -> T {
            T::between(self.next_u64(), low, high)
        }
    }

    impl Rng for ThreadRng {
        fn next_u64(&mut self) -> u64 {
            STATE.with(|state| {
                let mut x = state.get();
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                state.set(x);
                x.wrapping_mul(0x2545f4914f6cdd1d) >> 3
            })
        }
    }

    pub fn thread_rng() -> ThreadRng {
        ThreadRng
    }

    pub fn random<T: Number>() -> T {
        ThreadRng.gen()
    }
}
use rand::Rng;
"""

_RUST_MD5 = r"""
mod md5 {
    use std::fmt;

    pub struct Digest(pub [u8; 16]);

    impl fmt::LowerHex for Digest {
        fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
            self.0.iter().try_for_each(|byte| write!(out, "{:02x}", byte))
        }
    }

    pub fn compute<T: AsRef<[u8]>>(text: T) -> Digest {
        let turns = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
        let mut text = text.as_ref().to_vec();
        let bits = 8 * text.len() as u64;
        text.push(0x80);
        while text.len() % 64 != 56 {
            text.push(0);
        }
        text.extend(bits.to_le_bytes());
        let mut h: [u32; 4] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
        for block in text.chunks(64) {
            let w: Vec<u32> = block
                .chunks(4)
                .map(|p| u32::from_le_bytes([p[0], p[1], p[2], p[3]]))
                .collect();
            let [mut a, mut b, mut c, mut d] = h;
            for i in 0..64 {
                let (f, g) = match i / 16 {
                    0 => ((b & c) | (!b & d), i),
                    1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                    2 => (b ^ c ^ d, (3 * i + 5) % 16),
                    _ => (c ^ (b | !d), 7 * i % 16),
                };
                let k = (((i + 1) as f64).sin().abs() * 4294967296.0).floor() as u32;
                let sum = f.wrapping_add(a).wrapping_add(w[g]).wrapping_add(k);
                a = d;
                d = c;
                c = b;
                b = b.wrapping_add(sum.rotate_left(turns[i / 16][i % 4]));
            }
            for (old, new) in h.iter_mut().zip([a, b, c, d]) {
                *old = old.wrapping_add(new);
            }
        }
        let mut out = [0; 16];
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = (h[i / 4] >> (8 * (i % 4))) as u8;
        }
        Digest(out)
    }
}
"""

# Of regular expressions: characters, classes and \s \d \w, each with *, + or ? behind it. That is
# what the one solution that uses them needs; anything else is refused, as a pattern that is wrong.
_RUST_REGEX = r"""
mod regex {
    #[derive(Debug)]
    pub struct Error(String);

    type Piece = (bool, Vec<(char, char)>, usize, bool); // negated, ranges, at least, many

    #[derive(Debug)]
    pub struct Regex(Vec<Piece>);

    fn named(letter: char) -> Vec<(char, char)> {
        match letter {
            's' => vec![(' ', ' '), ('\t', '\r')],
            'd' => vec![('0', '9')],
            'w' => vec![('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')],
            other => vec![(other, other)],
        }
    }

    impl Regex {
        pub fn new(pattern: &str) -> Result<Regex, Error> {
            let p: Vec<char> = pattern.chars().collect();
            let mut pieces: Vec<Piece> = vec![];
            let mut i = 0;
            while i < p.len() {
                let mut negated = false;
                let mut ranges = vec![];
                match p[i] {
                    '[' => {
                        i += 1;
                        if i < p.len() && p[i] == '^' {
                            negated = true;
                            i += 1;
                        }
                        while i < p.len() && p[i] != ']' {
                            if p[i] == '\\' && i + 1 < p.len() {
                                i += 1;
                                ranges.extend(named(p[i]));
                            } else if i + 2 < p.len() && p[i + 1] == '-' && p[i + 2] != ']' {
                                ranges.push((p[i], p[i + 2]));
                                i += 2;
                            } else {
                                ranges.push((p[i], p[i]));
                            }
                            i += 1;
                        }
                        if i == p.len() {
                            return Err(Error(pattern.to_string()));
                        }
                    }
                    '\\' if p.get(i + 1).map_or(false, |c| "sdw.?*+-".contains(*c)) => {
                        i += 1;
                        ranges = named(p[i]);
                    }
                    '.' => {
                        negated = true;
                        ranges.push(('\n', '\n'));
                    }
                    '(' | ')' | '|' | '{' | '}' | '^' | '$' | '*' | '+' | '?' | '\\' => {
                        return Err(Error(pattern.to_string()));
                    }
                    letter => ranges.push((letter, letter)),
                }
                i += 1;
                let (least, many) = match p.get(i) {
                    Some('*') => (0, true),
                    Some('+') => (1, true),
                    Some('?') => (0, false),
                    _ => (1, false),
                };
                if least == 0 || many {
                    i += 1;
                }
                pieces.push((negated, ranges, least, many));
            }
            Ok(Regex(pieces))
        }

        fn end(&self, text: &[(usize, char)], at: usize, piece: usize) -> Option<usize> {
            let (negated, ranges, least, many) = match self.0.get(piece) {
                Some(found) => found,
                None => return Some(at),
            };
            let most = if *many { text.len() } else { 1 };
            let fits = |&(_, c): &(usize, char)| {
                ranges.iter().any(|&(low, high)| low <= c && c <= high) != *negated
            };
            let run = text[at..].iter().take(most).take_while(|x| fits(x)).count();
            (*least..=run).rev().find_map(|n| self.end(text, at + n, piece + 1))
        }

        pub fn is_match(&self, text: &str) -> bool {
            let letters: Vec<(usize, char)> = text.char_indices().collect();
            (0..=letters.len()).any(|i| self.end(&letters, i, 0).is_some())
        }

        pub fn split<'t>(&self, text: &'t str) -> std::vec::IntoIter<&'t str> {
            let letters: Vec<(usize, char)> = text.char_indices().collect();
            let place = |i: usize| letters.get(i).map_or(text.len(), |x| x.0);
            let (mut parts, mut start, mut i) = (vec![], 0, 0);
            while i < letters.len() {
                match self.end(&letters, i, 0) {
                    Some(end) if end > i => {
                        parts.push(&text[place(start)..place(i)]);
                        start = end;
                        i = end;
                    }
                    _ => i += 1,
                }
            }
            parts.push(&text[place(start)..]);
            parts.into_iter()
        }
    }
}
use regex::Regex;
"""

_RUST_CRATES = {  # what names a crate -> what is given in its place
    r"\brand::|\bRng\b": _RUST_RAND,
    r"\bRegex\b": _RUST_REGEX,
    r"\bmd5::": _RUST_MD5,
}
