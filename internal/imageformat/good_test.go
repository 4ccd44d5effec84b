package imageformat

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// good are images built in memory that have to be taken, and for what.
var good = map[string]struct {
	declared string
	image    func() []byte
	want     Info
}{
	"qcow2":                       {"qcow2", func() []byte { return qcow2Image() }, Info{QCOW2, 1 << 30}},
	"qcow2 in capitals":           {"QCOW2", func() []byte { return qcow2Image() }, Info{QCOW2, 1 << 30}},
	"qcow2 of an odd size":        {"qcow2", func() []byte { return qcow2Image(be64(24, 1<<30-1)) }, Info{QCOW2, 1<<30 - 512}},
	"qcow2 copied while in use":   {"qcow2", func() []byte { return qcow2Image(be64(72, bitDirty)) }, Info{QCOW2, 1 << 30}},
	"qcow2 with old bitmaps":      {"qcow2", func() []byte { return qcow2Image(extension(extBitmaps, be(1<<32, 0, 0))) }, Info{QCOW2, 1 << 30}},
	"vmdk":                        {"vmdk", func() []byte { return vmdkImage() }, Info{VMDK, 1 << 20}},
	"vmdk with a second's CR":     {"vmdk", func() []byte { return vmdkImage(described("version=1\n", "version=1\r\n")) }, Info{VMDK, 1 << 20}},
	"vmdk by VMware":              {"vmdk", func() []byte { return streamImage(byVMware) }, Info{VMDK, 1 << 20}},
	"vmdk streamOptimized":        {"vmdk", func() []byte { return streamImage() }, Info{VMDK, 1 << 20}},
	"vdi":                         {"vdi", func() []byte { return vdiImage() }, Info{VDI, 3 << 19}},
	"vhd":                         {"vhd", func() []byte { return vhdImage() }, Info{VHD, 3 << 20}},
	"vhd by its geometry":         {"vhd", func() []byte { return vhdImage(text(28, "vpc ")) }, Info{VHD, 0x57 * 4 * 17 * 512}},
	"fixed vhd":                   {"vhd", func() []byte { return fixedVHD() }, Info{VHD, 128 << 10}},
	"fixed vhd of a partitioned":  {"vhd", func() []byte { return after(fixedVHD(), text(510, "\x55\xaa")) }, Info{VHD, 128 << 10}},
	"vhdx":                        {"vhdx", func() []byte { return vhdxImage() }, Info{VHDX, 1 << 30}},
	"vhdx with one whole header":  {"vhdx", func() []byte { return after(vhdxImage(), le32(vhdxHeader2+4, 0)) }, Info{VHDX, 1 << 30}},
	"vhdx with metadata of its":   {"vhdx", func() []byte { return vhdxImage(le16(vhdxMetadataAt+10, 6), text(vhdxEntry(5), "what is this....")) }, Info{VHDX, 1 << 30}},
	"raw":                         {"raw", func() []byte { return raw() }, Info{Raw, 64 << 10}},
	"raw of an odd size":          {"raw", func() []byte { return raw()[:1000] }, Info{Raw, 1024}},
	"raw of one byte":             {"raw", func() []byte { return []byte("x") }, Info{Raw, 512}},
	"raw with an MBR":             {"raw", func() []byte { return partitioned(0x83) }, Info{Raw, 64 << 10}},
	"raw with a GPT":              {"raw", func() []byte { return gptDisk(512) }, Info{Raw, 64 << 10}},
	"raw with a GPT of 4 KiB":     {"raw", func() []byte { return gptDisk(4096) }, Info{Raw, 64 << 10}},
	"raw with a hybrid table":     {"raw", func() []byte { return gptDisk(512, text(mbrEntries+16, "\x80"), text(mbrEntries+20, "\x0c")) }, Info{Raw, 64 << 10}},
	"raw with a boot loader only": {"raw", func() []byte { return partitioned(protectiveType, text(mbrEntries+32, "\xfa\x31\xc0")) }, Info{Raw, 64 << 10}},
	"raw with a FAT":              {"raw", func() []byte { return partitioned(protectiveType, text(0x10, "\x02"), text(0x15, "\xf8")) }, Info{Raw, 64 << 10}},
	"raw that is a hybrid disc":   {"raw", func() []byte { return disc(text(510, "\x55\xaa")) }, Info{Raw, 64 << 10}},
	"iso":                         {"iso", func() []byte { return disc() }, Info{Raw, 64 << 10}},
	"iso of UDF alone":            {"iso", func() []byte { return raw(text(0x8001, "BEA01"), text(0x8801, "NSR02")) }, Info{Raw, 64 << 10}},
	"a kernel":                    {"aki", func() []byte { return []byte("MZ kernel") }, Info{Raw, 512}},
	"a ramdisk":                   {"ari", func() []byte { return []byte("\x1f\x8bramdisk") }, Info{Raw, 512}},
	"a filesystem":                {"ami", func() []byte { return raw(text(1080, "\x53\xef")) }, Info{Raw, 64 << 10}},
	"a script":                    {"raw", func() []byte { return []byte("#!ipxe\n# version=1\nchain http://boot\n") }, Info{Raw, 512}},
}

// byVMware is the description that ovftool writes.
func byVMware(b []byte) {
	describe("# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\nisNativeSnapshot=\"no\"\ncreateType=\"streamOptimized\"\n\n" +
		"# Extent description\nRDONLY 2048 SPARSE \"generated-stream.vmdk\"\n\n# The Disk Data Base \n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.geometry.sectors = \"63\"\n")(b)
}

func TestAGoodImageIsTaken(t *testing.T) {
	for name, c := range good {
		t.Run(name, func(t *testing.T) {
			b := c.image()
			got, err := Inspect(bytes.NewReader(b), int64(len(b)), Rules{Declared: c.declared})
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			for _, piece := range []int{1 << 20, 997} {
				got, err = stream(b, piece, Rules{Declared: c.declared})
				require.NoError(t, err)
				require.Equal(t, c.want, got)
			}
			got, err = stream(b, windowBytes, Rules{Declared: c.declared, Upload: true})
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// qemuImg runs qemu-img in dir.
func qemuImg(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("qemu-img", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "qemu-img %v: %s", args, out)
	return string(out)
}

func inspectFile(t testing.TB, path string, rules Rules) (Info, error) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(t, err)
	return Inspect(f, st.Size(), rules)
}

// What QEMU itself writes, in every format and with every option that changes a header, is taken, and its size is the one
// that QEMU tells.
func TestWhatQemuImgMakesIsTakenWithTheSizeThatQemuImgTells(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source.raw")
	require.NoError(t, os.WriteFile(source, bytes.Repeat([]byte("the guest's own bytes. "), 150000), 0o600))
	for name, c := range map[string]struct {
		declared string
		format   Format
		options  string
		size     string // of an empty image; "" converts the source
	}{
		"raw":                            {"raw", Raw, "", ""},
		"raw, empty":                     {"raw", Raw, "", "300M"},
		"qcow2":                          {"qcow2", QCOW2, "", ""},
		"qcow2 v3, empty":                {"qcow2", QCOW2, "", "300M"},
		"qcow2 v2":                       {"qcow2", QCOW2, "compat=0.10", ""},
		"qcow2 v2, empty":                {"qcow2", QCOW2, "compat=0.10", "300M"},
		"qcow2, small clusters":          {"qcow2", QCOW2, "cluster_size=512", "300M"},
		"qcow2, large clusters":          {"qcow2", QCOW2, "cluster_size=2M", "300M"},
		"qcow2, extended entries":        {"qcow2", QCOW2, "extended_l2=on,cluster_size=128k", "300M"},
		"qcow2, lazy":                    {"qcow2", QCOW2, "lazy_refcounts=on", "300M"},
		"qcow2, wide refcounts":          {"qcow2", QCOW2, "refcount_bits=64", ""},
		"qcow2, narrow refcounts":        {"qcow2", QCOW2, "refcount_bits=1", ""},
		"qcow2, preallocated":            {"qcow2", QCOW2, "preallocation=metadata", "300M"},
		"qcow2, zstd":                    {"qcow2", QCOW2, "compression_type=zstd", ""},
		"qcow2, large":                   {"qcow2", QCOW2, "", "16T"},
		"qcow2, an odd size":             {"qcow2", QCOW2, "", "1000001"},
		"vmdk monolithicSparse":          {"vmdk", VMDK, "subformat=monolithicSparse", ""},
		"vmdk monolithicSparse, empty":   {"vmdk", VMDK, "subformat=monolithicSparse", "300M"},
		"vmdk monolithicSparse, large":   {"vmdk", VMDK, "subformat=monolithicSparse", "1T"},
		"vmdk, version 6, zeroed grains": {"vmdk", VMDK, "compat6,zeroed_grain=on", "300M"},
		"vmdk, scsi":                     {"vmdk", VMDK, "adapter_type=lsilogic,hwversion=14,toolsversion=1", "300M"},
		"vmdk streamOptimized":           {"vmdk", VMDK, "subformat=streamOptimized", ""},
		"vmdk streamOptimized, empty":    {"vmdk", VMDK, "subformat=streamOptimized", "300M"},
		"vdi":                            {"vdi", VDI, "", ""},
		"vdi, static":                    {"vdi", VDI, "static=on", ""},
		"vdi, empty":                     {"vdi", VDI, "", "300M"},
		"vdi, large":                     {"vdi", VDI, "", "2T"},
		"vhd dynamic":                    {"vhd", VHD, "subformat=dynamic", ""},
		"vhd dynamic, empty":             {"vhd", VHD, "subformat=dynamic", "300M"},
		"vhd dynamic, by its size":       {"vhd", VHD, "subformat=dynamic,force_size=on", "300M"},
		"vhd dynamic, over the geometry": {"vhd", VHD, "subformat=dynamic", "1T"},
		"vhd fixed":                      {"vhd", VHD, "subformat=fixed", ""},
		"vhd fixed, empty, by its size":  {"vhd", VHD, "subformat=fixed,force_size=on", "30M"},
		"vhdx dynamic":                   {"vhdx", VHDX, "subformat=dynamic", ""},
		"vhdx dynamic, empty":            {"vhdx", VHDX, "subformat=dynamic", "300M"},
		"vhdx dynamic, large":            {"vhdx", VHDX, "subformat=dynamic", "40T"},
		"vhdx fixed":                     {"vhdx", VHDX, "subformat=fixed", ""},
		"vhdx, large blocks and log":     {"vhdx", VHDX, "block_size=256M,log_size=4M", "300M"},
		"vhdx, small blocks":             {"vhdx", VHDX, "block_size=1M,block_state_zero=off", "300G"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image."+string(c.format))
			args := []string{"convert", "-f", "raw", "-O", string(c.format), source, path}
			if c.size != "" {
				args = []string{"create", "-q", "-f", string(c.format), path, c.size}
			}
			if c.options != "" {
				args = append([]string{args[0], "-o", c.options}, args[1:]...)
			}
			qemuImg(t, dir, args...)
			got, err := inspectFile(t, path, Rules{Declared: c.declared})
			require.NoError(t, err)
			require.Equal(t, Info{c.format, virtualSize(t, path, c.format)}, got)
		})
	}
}

func virtualSize(t testing.TB, path string, format Format) int64 {
	t.Helper()
	var told struct {
		Bytes int64 `json:"virtual-size"`
	}
	out, err := exec.Command("qemu-img", "info", "-f", string(format), "--output=json", path).Output() // without its warnings
	require.NoError(t, err, "%s: %s", path, out)
	require.NoError(t, json.Unmarshal(out, &told))
	return told.Bytes
}

// QEMU takes a VHD's size from one field or another, depending on who made it.
func TestTheSizeOfABuiltImageIsTheOneThatQemuImgTells(t *testing.T) {
	images := map[string]func() []byte{}
	formats := map[string]string{}
	for name, c := range good {
		if c.want.Format != Raw && name != "vmdk by VMware" && name != "vmdk streamOptimized" { // no grains to open
			images[name], formats[name] = c.image, c.declared
		}
	}
	for _, maker := range []string{"win ", "qem2", "qemu", "d2v ", "tap\x00", "CTXS", "vpc ", "vs  ", "vbox", "\x00\x00\x00\x00"} {
		images[maker], formats[maker] = func() []byte { return vhdImage(text(28, maker)) }, "vhd"
		images["fixed "+maker], formats["fixed "+maker] = func() []byte { return fixedVHD(be32(56, 1<<16|4<<8|17), text(28, maker)) }, "vhd"
		largest := func() []byte { return vhdImage(text(28, maker), be32(56, 65535<<16|16<<8|255)) }
		images["largest "+maker], formats["largest "+maker] = largest, "vhd"
	}
	dir := t.TempDir()
	for name, image := range images {
		path := filepath.Join(dir, "image")
		require.NoError(t, os.WriteFile(path, image(), 0o600))
		got, err := inspectFile(t, path, Rules{Declared: formats[name]})
		require.NoError(t, err, "%q", name)
		require.Equal(t, virtualSize(t, path, got.Format), got.VirtualBytes, "%q", name)
	}
}

func TestWhatWasDoneToAQcow2ByQEMUIsTaken(t *testing.T) {
	dir := t.TempDir()
	for name, steps := range map[string][][]string{
		"snapshots":  {{"snapshot", "-c", "one", "i"}, {"snapshot", "-c", "two", "i"}},
		"a bitmap":   {{"bitmap", "-f", "qcow2", "--add", "i", "dirty"}},
		"grown":      {{"resize", "-q", "-f", "qcow2", "i", "300G"}},
		"shrunk":     {{"resize", "-q", "-f", "qcow2", "--shrink", "i", "1M"}},
		"made older": {{"amend", "-q", "-f", "qcow2", "-o", "compat=0.10", "i"}},
		"once an overlay": {{"create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "i", "j"}, {"rebase", "-f", "qcow2", "-F", "qcow2", "-b", "", "j"},
			{"convert", "-f", "qcow2", "-O", "raw", "j", "flat"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "i")
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", path, "64M")
			for _, step := range steps {
				qemuImg(t, dir, step...)
			}
			if name == "once an overlay" {
				path = filepath.Join(dir, "j")
			}
			got, err := inspectFile(t, path, Rules{Declared: "qcow2"})
			require.NoError(t, err)
			require.Equal(t, Info{QCOW2, virtualSize(t, path, QCOW2)}, got)
		})
	}
}

func TestAnOverlayOfOursIsReadAsQemuImgMadeIt(t *testing.T) {
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base.raw"), filepath.Join(dir, "top.qcow2")
	require.NoError(t, os.WriteFile(base, make([]byte, 1<<20), 0o600))
	qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, top)
	data, err := os.ReadFile(top)
	require.NoError(t, err)
	h, err := ReadQCOW2(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Equal(t, base, h.BackingFile)
	require.Equal(t, "raw", h.BackingFormat)
	require.EqualValues(t, 1<<20, h.VirtualBytes)
	_, err = inspectFile(t, top, Rules{Declared: "qcow2"})
	require.ErrorContains(t, err, "backing file")
}

func TestDiscsAndPartitionedDisksOfRealToolsAreTaken(t *testing.T) {
	dir := t.TempDir()
	run := func(stdin, name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Stdin, cmd.Dir = strings.NewReader(stdin), dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tree"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tree", "meta_data.json"), bytes.Repeat([]byte("x"), 5000), 0o600))
	sized := func(name string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), make([]byte, 8<<20), 0o600))
	}
	run("", "genisoimage", "-quiet", "-o", "disc", "-J", "-r", "tree")
	run("", "genisoimage", "-quiet", "-o", "unpadded", "-no-pad", "-J", "-r", "tree")
	run("", "genisoimage", "-quiet", "-o", "udf", "-udf", "-J", "-r", "tree")
	sized("mbr")
	run("label: dos\n,4M,L,*\n,,L\n", "sfdisk", "-q", "mbr")
	sized("gpt")
	run("label: gpt\n,4M,L\n,,L\n", "sfdisk", "-q", "gpt")
	sized("fat")
	run("", "mkfs.vfat", "fat")
	sized("fat16")
	run("", "mkfs.vfat", "-f", "1", "-M", "0xf0", "fat16")
	sized("ext4")
	run("", "mkfs.ext4", "-q", "-F", "ext4")
	for name, declared := range map[string]string{
		"disc": "iso", "unpadded": "iso", "udf": "iso", "mbr": "raw", "gpt": "raw", "fat": "raw", "fat16": "raw", "ext4": "ami",
	} {
		got, err := inspectFile(t, filepath.Join(dir, name), Rules{Declared: declared, Upload: true})
		require.NoError(t, err, name)
		require.Equal(t, Info{Raw, virtualSize(t, filepath.Join(dir, name), Raw)}, got, name)
	}
}

// The danger is real: QEMU opens each of these and hands over the secret file, and all of them are refused under every
// declaration that an image can have.
func TestWhatMakesQEMUReadAnotherFileIsRefusedBefore(t *testing.T) {
	secret := "root:$y$j9T$" + strings.Repeat("secret of the host ", 50)
	for name, c := range map[string]struct {
		format string // what qemu-img is told; "" lets it probe
		make   func(t *testing.T, dir, secretPath, path string)
	}{
		"qcow2 with an absolute backing file": {"qcow2", func(t *testing.T, dir, secretPath, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secretPath, path)
		}},
		"qcow2 with a relative backing file": {"qcow2", func(t *testing.T, dir, _, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "secret", path)
		}},
		"qcow2 v2 with a backing file": {"qcow2", func(t *testing.T, dir, secretPath, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-F", "raw", "-b", secretPath, path)
		}},
		"qcow2 with a json backing file": {"qcow2", func(t *testing.T, dir, secretPath, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", `json:{"driver":"raw","file":{"driver":"file","filename":"`+secretPath+`"}}`, path)
		}},
		"qcow2 that is uploaded as raw": {"", func(t *testing.T, dir, secretPath, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secretPath, path)
		}},
		"qcow2 with a data file": {"qcow2", func(t *testing.T, dir, secretPath, path string) {
			own := filepath.Join(dir, "public") // a name as long as the secret's
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata,data_file_raw=on,data_file="+own, path, "64k")
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			changed := bytes.Replace(b, []byte(own), []byte(secretPath), 1)
			require.NotEqual(t, b, changed)
			require.NoError(t, os.WriteFile(path, changed, 0o600))
		}},
		"vmdk descriptor": {"vmdk", func(t *testing.T, _, secretPath, path string) {
			text := "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2 FLAT \"" + secretPath + "\" 0\n"
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}},
		"vmdk descriptor that is uploaded as raw": {"", func(t *testing.T, _, secretPath, path string) {
			text := "# a comment\n \nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"vmfs\"\nRW 2 VMFS \"" + secretPath + "\"\n"
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}},
		"vmdk without a capacity": {"vmdk", func(t *testing.T, _, secretPath, path string) {
			b := vmdkImage(le64(12, 0), describe("version=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2 FLAT \""+secretPath+"\" 0\n"))
			require.NoError(t, os.WriteFile(path, b, 0o600))
		}},
		"vmdk with a parent's name behind its descriptor": {"vmdk", func(t *testing.T, dir, _, path string) {
			// QEMU takes the parent for a vmdk: the secret is another tenant's image.
			qemuImg(t, dir, "convert", "-f", "raw", "-O", "vmdk", "secret", "other.vmdk")
			other, err := os.ReadFile(filepath.Join(dir, "other.vmdk"))
			require.NoError(t, err)
			cid := string(other[bytes.Index(other, []byte("CID="))+4:][:8])
			text := strings.Replace(strings.Replace(vmdkDescription, "parentCID=ffffffff", "parentCID="+cid, 1), "2048", "8192", 1)
			pad := strings.Repeat("\n", 512-len(text)%512)
			b := vmdkImage(le64(12, 8192), le64(36, uint64(len(text+pad))/512), describe(text+pad+"parentFileNameHint=\"other.vmdk\"\n"))
			require.NoError(t, os.WriteFile(path, b, 0o600))
		}},
		"qcow of version 1 with a backing file": {"qcow", func(t *testing.T, dir, secretPath, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qcow", "-F", "raw", "-b", secretPath, path, "64k")
		}},
		"qed with a backing file": {"qed", func(t *testing.T, dir, secretPath, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qed", "-F", "raw", "-b", secretPath, path, "64k")
		}},
		"qcow2 that is a disc too": {"", func(t *testing.T, dir, secretPath, path string) {
			qemuImg(t, dir, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secretPath, path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("\x01CD001\x01"), 0x8000)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			secretPath, path, leaked := filepath.Join(dir, "secret"), filepath.Join(dir, "hostile-image"), filepath.Join(dir, "leaked")
			require.NoError(t, os.WriteFile(secretPath, []byte(secret+strings.Repeat("\x00", 4096-len(secret))), 0o600))
			c.make(t, dir, secretPath, path)

			args := []string{"convert", "-O", "raw", path, leaked}
			if c.format != "" {
				args = append([]string{"convert", "-f", c.format}, args[1:]...)
			}
			qemuImg(t, dir, args...)
			out, err := os.ReadFile(leaked)
			require.NoError(t, err)
			require.Contains(t, string(out), secret, "QEMU followed it: otherwise this case shows nothing")

			for declared := range declaredAs {
				got, err := inspectFile(t, path, Rules{Declared: declared})
				require.Error(t, err, "taken as %s: %+v", declared, got)
			}
		})
	}
}

// Kinds that qemu-img writes and that are not one self-contained file.
func TestWhatIsNotOneSelfContainedFileIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		declared string
		args     []string
		says     string
	}{
		"monolithicFlat":       {"vmdk", []string{"-f", "vmdk", "-o", "subformat=monolithicFlat"}, "self-contained"},
		"twoGbMaxExtentSparse": {"vmdk", []string{"-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"}, "self-contained"},
		"twoGbMaxExtentFlat":   {"vmdk", []string{"-f", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"}, "self-contained"},
		"qcow2 with data file": {"qcow2", []string{"-f", "qcow2", "-o", "data_file=data"}, "another file"},
		"parallels":            {"raw", []string{"-f", "parallels"}, "parallels"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "image")
			qemuImg(t, dir, append(append([]string{"create", "-q"}, c.args...), path, "8M")...)
			_, err := inspectFile(t, path, Rules{Declared: c.declared})
			require.ErrorContains(t, err, c.says)
		})
	}
}

// Encrypted images, as qemu-img 7.2 wrote them (8 MiB; key material zeroed, so that they are small). It is not asked
// for new ones: it measures key derivation in CPU time, and gives up where the kernel counts that too coarsely.
func TestAnEncryptedImageIsRefused(t *testing.T) {
	for file, c := range map[string]struct{ declared, says string }{
		"luks":       {"raw", "luks"},
		"luks.qcow2": {"qcow2", "encrypted"},
	} {
		t.Run(file, func(t *testing.T) {
			packed, err := os.Open(filepath.Join("testdata", file+".gz"))
			require.NoError(t, err)
			defer packed.Close()
			unpacked, err := gzip.NewReader(packed)
			require.NoError(t, err)
			image, err := io.ReadAll(unpacked)
			require.NoError(t, err)
			_, err = Inspect(bytes.NewReader(image), int64(len(image)), Rules{Declared: c.declared})
			require.ErrorContains(t, err, c.says)
		})
	}
}
