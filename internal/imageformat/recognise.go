package imageformat

// HeadBytes is how much of an image's beginning Recognise wants to see.
const HeadBytes = discSector * 19

// Recognise is the disk_format whose mark the beginning of an image bears, and no other's; raw where there is none. It is a
// proposal: whether the image is one, an inspection tells.
func Recognise(head []byte) string {
	switch found := headMarks(head); {
	case len(found) != 1:
		return string(Raw)
	case found[0] == isoMark:
		return "iso"
	case declaredAs[found[0]] != "":
		return found[0]
	}
	return string(Raw)
}
