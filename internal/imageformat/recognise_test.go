package imageformat

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// fileWith is a file of 64 KiB that has bytes at a place and is otherwise nothing that anybody knows.
func fileWith(at int, magic string) []byte {
	b := bytes.Repeat([]byte{0xa5}, 64<<10)
	copy(b[at:], magic)
	return b
}

func TestAFileThatIsNoDiskIsRefusedByWhatItIsAndWithWhatToDo(t *testing.T) {
	files := map[string][]byte{
		"an HTML page":              []byte("\ufeff\n <!DOCTYPE HTML><html>404</html>"),
		"an XML document":           []byte("<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"),
		"the description of an OVF": []byte("<?xml version=\"1.0\"?>\n<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"/>"),
		"a JSON document":           []byte(`{ "message": "Not Found" }`),
		"an lzma file":              []byte("\x5d\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
		"a cpio archive":            fileWith(0, "070701"),
	}
	for _, o := range others {
		files[o.kind] = fileWith(o.at, o.magic)
	}
	ova := fileWith(257, "ustar")
	copy(ova, "appliance.OVF\x00")
	files["an OVA, which is a tar archive"] = ova
	for kind, file := range files {
		for _, declared := range []string{"raw", "ami", "qcow2", "vmdk", "iso"} {
			err := inspectUpload(file, declared)
			require.True(t, fault.Is(err, fault.Invalid), "%s as %s: %v", kind, declared, err)
			require.ErrorContains(t, err, "is declared to be "+declared+" but its content is "+kind+". ", kind)
		}
		for _, declared := range []string{"aki", "ari"} {
			require.NoError(t, inspectUpload(file, declared), "kernels and ramdisks may be any file: %s", kind)
		}
		_, err := stream(file, windowBytes, Rules{Declared: "raw"})
		require.NoError(t, err, "what was taken once stays: %s", kind)
		if kind != "a cpio archive" { // an initial ramdisk
			_, trouble := Recognise(file, nil)
			require.Contains(t, trouble, "is "+kind+": ")
		}
	}
}

func TestADiskThatBeginsLikeAnArchiveIsTaken(t *testing.T) {
	for _, o := range others {
		disk := fileWith(o.at, o.magic)
		disk[510], disk[511] = 0x55, 0xaa
		require.NoError(t, inspectUpload(disk, "raw"), "%s: it has a boot sector", o.kind)
	}
	for name, file := range map[string][]byte{
		"nothing": make([]byte, 64<<10), "short": []byte("1234"), "text": []byte(strings.Repeat("a disk label ", 100)), "brace": []byte("{\x00"),
		"html behind": fileWith(512, "<!DOCTYPE html>"),
	} {
		require.NoError(t, inspectUpload(file, "raw"), name)
		disk, trouble := Recognise(file, nil)
		require.Equal(t, []string{"raw", ""}, []string{disk, trouble}, name)
	}
}

func TestWhatIsRecognisedIsAccepted(t *testing.T) {
	for mark, disk := range uploadAs {
		for _, m := range formats {
			if m.kind == mark {
				got, trouble := Recognise(fileWith(m.at, m.magic+"\x00\x00\x00\x03"), nil)
				require.Equal(t, []string{disk, ""}, []string{got, trouble}, mark)
			}
		}
	}
	disk, trouble := Recognise(fileWith(0, "LUKS\xba\xbe"), nil)
	require.Empty(t, disk)
	require.Contains(t, trouble, "is luks: convert it")
}

func inspectUpload(file []byte, declared string) error {
	_, err := stream(file, windowBytes, Rules{Declared: declared, Upload: true})
	return err
}
