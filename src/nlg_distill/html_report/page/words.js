// Which words of a text are not in another one, in its order.

// Letters and digits that stand together, else single characters; of scripts without spaces, too.
const ALONE = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}";
const WORD = new RegExp(`(?:[${ALONE}]|(?:(?![${ALONE}])[\\p{L}\\p{M}\\p{N}'’])+|\\S)\\s*`, "gu");
const MOST_WORDS = 1500;

function wordsOf(text) {
  return text.trim().match(WORD) || [];
}

// For each word of `ours`, whether it is in a longest common subsequence with `theirs`.
function common(ours, theirs) {
  const [a, b] = [ours, theirs].map((words) => words.map((word) => word.trim()));
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const found = a.map(() => false);
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) { found[i++] = true; j++; }
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i++;
    else j++;
  }
  return found;
}

// The text, with the words marked that the other one lacks.
function marked(text, other) {
  if (other === null || text === other) return [text];
  const [ours, theirs] = [wordsOf(text), wordsOf(other)];
  if (Math.max(ours.length, theirs.length) > MOST_WORDS) return [text];
  const same = common(ours, theirs);
  const nodes = [];
  for (let i = 0; i < ours.length; ) {
    let end = i;
    while (end < ours.length && same[end] === same[i]) end++;
    const piece = ours.slice(i, end).join("");
    if (same[i]) nodes.push(piece);
    else nodes.push(h("mark", {}, piece.trimEnd()), piece.slice(piece.trimEnd().length));
    i = end;
  }
  return nodes;
}
