package imageformat

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// header makes a version 3 qcow2 of four clusters: header, refcount table, a spare one and the first-level table.
func header(change ...func(b []byte)) []byte {
	b := make([]byte, 4<<16)
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 16)
	be.PutUint64(b[24:], 1<<30)
	be.PutUint32(b[36:], 2)
	be.PutUint64(b[40:], 3<<16)
	be.PutUint64(b[48:], 1<<16)
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4)
	be.PutUint32(b[100:], 104)
	for _, c := range change {
		c(b)
	}
	return b
}

func at32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func at64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
}

func text(off int, s string) func([]byte) { return func(b []byte) { copy(b[off:], s) } }

func backing(name string) func([]byte) {
	return func(b []byte) {
		binary.BigEndian.PutUint64(b[8:], 512)
		binary.BigEndian.PutUint32(b[16:], uint32(len(name)))
		copy(b[512:], name)
	}
}

func raw(change ...func(b []byte)) []byte {
	b := make([]byte, 64<<10)
	for _, c := range change {
		c(b)
	}
	return b
}

var cases = map[string]struct {
	bytes    []byte
	declared string
	want     Info
	refused  string // a part of the text; "" is accepted
}{
	"a plain qcow2":                          {header(), "qcow2", Info{QCOW2, 1 << 30}, ""},
	"a qcow2 of an odd size is rounded up":   {header(at64(24, 1<<30-1)), "qcow2", Info{QCOW2, 1 << 30}, ""},
	"a dirty qcow2":                          {header(at64(72, 1)), "qcow2", Info{QCOW2, 1 << 30}, ""},
	"compressed with zstd":                   {header(at64(72, 8), at32(100, 112)), "qcow2", Info{QCOW2, 1 << 30}, ""},
	"zeros as raw":                           {raw(), "raw", Info{Raw, 64 << 10}, ""},
	"a raw disk of an odd size":              {raw()[:1000], "raw", Info{Raw, 1024}, ""},
	"a hybrid disc as raw":                   {raw(text(0x8001, "CD001")), "raw", Info{Raw, 64 << 10}, ""},
	"a disc as iso":                          {raw(text(0x8001, "CD001")), "iso", Info{Raw, 64 << 10}, ""},
	"a kernel":                               {[]byte("MZ kernel"), "aki", Info{Raw, 512}, ""},
	"declared in capitals":                   {header(), "QCOW2", Info{QCOW2, 1 << 30}, ""},
	"an absolute backing file":               {header(backing("/etc/shadow")), "qcow2", Info{}, "backing file"},
	"a relative backing file":                {header(backing("disk")), "qcow2", Info{}, "backing file"},
	"a json backing file":                    {header(backing(`json:{"driver":"raw"}`)), "qcow2", Info{}, "backing file"},
	"a backing name beyond the header":       {header(at64(8, 1<<40), at32(16, 10)), "qcow2", Info{}, "backing file"},
	"a backing name that wraps around":       {header(at64(8, 1<<64-4), at32(16, 10)), "qcow2", Info{}, "backing file"},
	"a backing offset without a length":      {header(at64(8, 512)), "qcow2", Info{}, "backing file"},
	"the data file bit":                      {header(at64(72, 4)), "qcow2", Info{}, "another file"},
	"a data file's name without the bit":     {header(at32(104, extDataFile), at32(108, 4), text(112, "/etc")), "qcow2", Info{}, "another file"},
	"an unknown incompatible bit":            {header(at64(72, 1<<5)), "qcow2", Info{}, "not known (0x20)"},
	"the highest incompatible bit":           {header(at64(72, 1<<63)), "qcow2", Info{}, "not known"},
	"the corrupt bit":                        {header(at64(72, 2)), "qcow2", Info{}, "corrupt"},
	"AES":                                    {header(at32(32, 1)), "qcow2", Info{}, "encrypted"},
	"LUKS inside":                            {header(at32(104, extLUKS), at32(108, 16)), "qcow2", Info{}, "encrypted"},
	"version 4":                              {header(at32(4, 4)), "qcow2", Info{}, "version 4"},
	"qcow of version 1":                      {header(at32(4, 1)), "qcow2", Info{}, "qcow (version 1)"},
	"tiny clusters":                          {header(at32(20, 8)), "qcow2", Info{}, "clusters"},
	"huge clusters":                          {header(at32(20, 63)), "qcow2", Info{}, "clusters"},
	"no size":                                {header(at64(24, 0)), "qcow2", Info{}, "virtual size"},
	"a negative size":                        {header(at64(24, 1<<63)), "qcow2", Info{}, "virtual size"},
	"a table too small for the size":         {header(at32(36, 1)), "qcow2", Info{}, "table"},
	"a table larger than QEMU allows":        {header(at32(36, 1<<31)), "qcow2", Info{}, "table"},
	"a table outside the file":               {header(at64(40, 1<<40)), "qcow2", Info{}, "outside"},
	"a table that wraps around":              {header(at64(40, 1<<64-1<<16)), "qcow2", Info{}, "outside"},
	"a refcount table outside the file":      {header(at64(48, 1<<40)), "qcow2", Info{}, "refcount"},
	"many refcount tables":                   {header(at32(56, 1<<31)), "qcow2", Info{}, "refcount"},
	"wide refcounts":                         {header(at32(96, 60)), "qcow2", Info{}, "refcount"},
	"a header longer than a cluster":         {header(at32(100, 1<<31)), "qcow2", Info{}, "header"},
	"an extension longer than the header":    {header(at32(104, 1), at32(108, 1<<31)), "qcow2", Info{}, "extension"},
	"only a mark":                            {[]byte("QFI\xfb\x00\x00\x00\x03"), "qcow2", Info{}, "ends within"},
	"a cut version 3 header":                 {header()[:80], "qcow2", Info{}, "ends within"},
	"a qcow2 declared raw":                   {header(), "raw", Info{}, "declared to be raw but its content is qcow2"},
	"a qcow2 declared aki":                   {header(), "aki", Info{}, "qcow2"},
	"a raw declared qcow2":                   {raw(), "qcow2", Info{}, "nothing known"},
	"a disc and a qcow2 at once":             {header(text(0x8001, "CD001")), "qcow2", Info{}, "ambiguous"},
	"a disc and a qcow2 at once, as raw":     {header(text(0x8001, "CD001")), "raw", Info{}, "iso9660 and qcow2"},
	"a disc and a qcow2 at once, as iso":     {header(text(0x8001, "CD001")), "iso", Info{}, "qcow2"},
	"no disc declared iso":                   {raw(), "iso", Info{}, "no ISO 9660"},
	"a vmdk declared raw":                    {raw(text(0, "KDMV")), "raw", Info{}, "vmdk"},
	"a vmdk descriptor declared raw":         {[]byte("# Disk DescriptorFile\nversion=1\n"), "raw", Info{}, "vmdk"},
	"a vmdk descriptor with another comment": {[]byte("# hello\n\nversion=1\nRW 1 FLAT \"/etc/shadow\" 0\n"), "raw", Info{}, "vmdk"},
	"a vmdk declared vmdk":                   {raw(text(0, "KDMV")), "vmdk", Info{}, "cannot be booted"},
	"qed":                                    {raw(text(0, "QED\x00")), "raw", Info{}, "qed"},
	"vdi":                                    {raw(text(0x40, "\x7f\x10\xda\xbe")), "raw", Info{}, "vdi"},
	"a dynamic vhd":                          {raw(text(0, "conectix")), "raw", Info{}, "vhd"},
	"a fixed vhd":                            {raw(text(64<<10-512, "conectix")), "raw", Info{}, "vhd"},
	"vhdx":                                   {raw(text(0, "vhdxfile")), "raw", Info{}, "vhdx"},
	"luks":                                   {raw(text(0, "LUKS\xba\xbe")), "raw", Info{}, "luks"},
	"dmg":                                    {raw(text(64<<10-512, "koly")), "raw", Info{}, "dmg"},
	"an unknown declaration":                 {raw(), "ploop", Info{}, "cannot be booted"},
	"nothing declared":                       {raw(), "", Info{}, "cannot be booted"},
	"an empty image":                         {nil, "raw", Info{}, "empty"},
}

func TestAnImageIsTakenOnlyForWhatItIsDeclaredToBeAndOnlyIfItStandsAlone(t *testing.T) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Inspect(bytes.NewReader(c.bytes), int64(len(c.bytes)), c.declared)
			if c.refused == "" {
				require.NoError(t, err)
				require.Equal(t, c.want, got)
				return
			}
			require.ErrorContains(t, err, c.refused)
			require.True(t, fault.Is(err, fault.Invalid))
		})
	}
}

func TestWhatQemuImgMakesIsReadAsQemuImgMadeIt(t *testing.T) {
	dir := t.TempDir()
	for name, opts := range map[string]string{
		"v3": "", "v2": "compat=0.10", "small clusters": "cluster_size=512", "large clusters": "cluster_size=2M",
		"extended": "extended_l2=on,cluster_size=128k", "lazy": "lazy_refcounts=on", "preallocated": "preallocation=metadata", "zstd": "compression_type=zstd",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "image.qcow2")
			args := []string{"create", "-q", "-f", "qcow2"}
			if opts != "" {
				args = append(args, "-o", opts)
			}
			out, err := exec.Command("qemu-img", append(args, path, "300M")...).CombinedOutput()
			require.NoError(t, err, "%s", out)
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			st, err := f.Stat()
			require.NoError(t, err)
			got, err := Inspect(f, st.Size(), "qcow2")
			require.NoError(t, err)
			require.Equal(t, Info{QCOW2, 300 << 20}, got)
		})
	}
	t.Run("backed", func(t *testing.T) {
		base, top := filepath.Join(dir, "base.raw"), filepath.Join(dir, "top.qcow2")
		require.NoError(t, os.WriteFile(base, make([]byte, 1<<20), 0o600))
		out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, top).CombinedOutput()
		require.NoError(t, err, "%s", out)
		data, err := os.ReadFile(top)
		require.NoError(t, err)
		h, err := ReadQCOW2(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		require.Equal(t, base, h.BackingFile)
		require.Equal(t, "raw", h.BackingFormat)
		_, err = Inspect(bytes.NewReader(data), int64(len(data)), "qcow2")
		require.ErrorContains(t, err, "backing file")
	})
}

// counting fails the test that reads more than a little.
type counting struct {
	r    *bytes.Reader
	read int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.read += len(p)
	return c.r.ReadAt(p, off)
}

func FuzzInspectNeverFailsOddly(f *testing.F) {
	for _, c := range cases {
		f.Add(c.bytes[:min(len(c.bytes), 40<<10)], c.declared)
	}
	f.Fuzz(func(t *testing.T, b []byte, declared string) {
		r := &counting{r: bytes.NewReader(b)}
		info, err := Inspect(r, int64(len(b)), declared)
		if r.read > 64<<10 {
			t.Fatalf("read %d bytes", r.read)
		}
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("a refusal that is no Invalid: %v", err)
			}
			return
		}
		if info.VirtualBytes <= 0 || info.VirtualBytes%512 != 0 || info.VirtualBytes > MaxVirtualBytes {
			t.Fatalf("virtual size %d", info.VirtualBytes)
		}
		if info.Format != Raw && info.Format != QCOW2 {
			t.Fatalf("format %q", info.Format)
		}
	})
}
