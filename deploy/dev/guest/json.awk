# Flattens one JSON document (stdin or a file) into lines "POINTER<TAB>VALUE".
#
# POINTER is a JSON Pointer (RFC 6901: "/" separates, "~1" is a slash in a key, "~0" a tilde). Only strings, numbers
# and booleans give a line; null, {} and [] give none, so what is absent is never reported. In a VALUE (and a key) a
# backslash and the control characters stay as JSON escapes (\\ \n \t \u0001), so that a value is always one line.
# Exit status 1 when the text is not JSON.

BEGIN {
	RS = "\001"   # never occurs in JSON text: the whole document is one record
	for (i = 0; i < 16; i++) hexdigit[substr("0123456789abcdef", i + 1, 1)] = i
	short["b"] = "\\b"; short["f"] = "\\f"; short["n"] = "\\n"; short["r"] = "\\r"; short["t"] = "\\t"
	short["\\"] = "\\\\"; short["/"] = "/"; short["\""] = "\""
}

{ text = text $0 }

END {
	space(); value("")
	space(); if (text != "") fail()
	exit bad
}

function fail() { bad = 1; text = "" }

function space() { sub(/^[ \t\r\n]+/, "", text) }

function value(path,   c) {
	c = substr(text, 1, 1)
	if (c == "{") object(path)
	else if (c == "[") list(path)
	else if (c == "\"") print path "\t" quoted()
	else if (match(text, /^(true|false|null|-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?)/)) {
		c = substr(text, 1, RLENGTH)
		text = substr(text, RLENGTH + 1)
		if (c != "null") print path "\t" c
	} else fail()
}

function object(path,   key) {
	text = substr(text, 2); space()
	if (take("}")) return
	do {
		space(); if (substr(text, 1, 1) != "\"") { fail(); return }
		key = quoted(); gsub(/~/, "~0", key); gsub(/\//, "~1", key)
		space(); if (!take(":")) { fail(); return }
		space(); value(path "/" key); space()
	} while (take(","))
	if (!take("}")) fail()
}

function list(path,   n) {
	text = substr(text, 2); space()
	if (take("]")) return
	n = 0
	do { space(); value(path "/" n++); space() } while (take(","))
	if (!take("]")) fail()
}

function take(c) {
	if (substr(text, 1, 1) != c) return 0
	text = substr(text, 2)
	return 1
}

function quoted(   out, c) {
	text = substr(text, 2)
	while (match(text, /["\\]/)) {
		out = out substr(text, 1, RSTART - 1)
		c = substr(text, RSTART, 1)
		text = substr(text, RSTART + 1)
		if (c == "\"") return out
		c = substr(text, 1, 1)
		text = substr(text, 2)
		if (c == "u") out = out unicode()
		else if (c in short) out = out short[c]
		else break
	}
	fail()
	return ""
}

# The character after \u, as UTF-8; a surrogate pair is one character, a lone half is U+FFFD.
function unicode(   n, low) {
	n = hex4()
	if (n >= 55296 && n < 56320 && substr(text, 1, 2) == "\\u") {
		text = substr(text, 3); low = hex4()
		n = (low >= 56320 && low < 57344) ? 65536 + (n - 55296) * 1024 + low - 56320 : 65533
	} else if (n >= 55296 && n < 57344) n = 65533
	if (n == 92) return "\\\\"
	if (n == 10) return "\\n"
	if (n == 9) return "\\t"
	if (n == 13) return "\\r"
	if (n < 32 || n == 127) return sprintf("\\u%04x", n)
	if (n < 128) return sprintf("%c", n)
	if (n < 2048) return byte(192 + int(n / 64)) byte(128 + n % 64)
	if (n < 65536) return byte(224 + int(n / 4096)) byte(128 + int(n / 64) % 64) byte(128 + n % 64)
	return byte(240 + int(n / 262144)) byte(128 + int(n / 4096) % 64) byte(128 + int(n / 64) % 64) byte(128 + n % 64)
}

function byte(n) { return sprintf("%c", n) }

function hex4(   i, c, n) {
	n = 0
	for (i = 1; i <= 4; i++) {
		c = tolower(substr(text, i, 1))
		if (!(c in hexdigit)) { fail(); return 0 }
		n = n * 16 + hexdigit[c]
	}
	text = substr(text, 5)
	return n
}
