package imageformat

import "encoding/binary"

// Of a VDI's header (QEMU's block/vdi.c; VirtualBox's VDICore.h).
const (
	vdiVersion    = 0x00010001
	vdiMinHeader  = 0x180
	vdiBlock      = 1 << 20 // the only size that QEMU reads
	vdiDynamic    = 1
	vdiStatic     = 2
	vdiUndo       = 3
	vdiDifference = 4
)

func (i *Inspector) vdi(b []byte) error {
	bad := func(format string, args ...any) error { return unusable(vdiMark, format, args...) }
	if len(b) < 512 {
		return bad("it ends within its header")
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[0x44:]); v != vdiVersion {
		return bad("it is version %d.%d", v>>16, v&0xffff)
	}
	if n := le.Uint32(b[0x48:]); n < vdiMinHeader || n > 512-0x48 {
		return bad("its header is %d bytes long", n)
	}
	switch kind := le.Uint32(b[0x4c:]); kind {
	case vdiDynamic, vdiStatic:
	case vdiUndo, vdiDifference:
		return refusal("The image holds only the differences to another one. Merge them with VBoxManage clonemedium and upload the result.")
	default:
		return bad("it is of type %d", kind)
	}
	mapAt, dataAt := uint64(le.Uint32(b[0x154:])), uint64(le.Uint32(b[0x158:]))
	sector, virtual := le.Uint32(b[0x168:]), le.Uint64(b[0x170:])
	block, extra := le.Uint32(b[0x178:]), le.Uint32(b[0x17c:])
	blocks, allocated := uint64(le.Uint32(b[0x180:])), uint64(le.Uint32(b[0x184:]))
	if !isZero(b[0x1a8:0x1c8]) {
		return refusal("The image names a parent image. Merge them with VBoxManage clonemedium and upload the result.")
	}
	if sector != 512 || block != vdiBlock || extra != 0 {
		return refusal("The image has sectors of %d and blocks of %d+%d bytes; 512 and 1048576 are supported. Convert it with VBoxManage clonemedium and upload the result.", sector, block, extra)
	}
	if virtual == 0 || virtual>>62 != 0 {
		return bad("its virtual size is %d bytes", virtual)
	}
	if err := i.fits(virtual); err != nil {
		return err
	}
	if blocks != (virtual+vdiBlock-1)/vdiBlock || allocated > blocks {
		return bad("it has %d of %d blocks for %d bytes", allocated, blocks, virtual)
	}
	if mapAt%512 != 0 || dataAt%512 != 0 || mapAt < 512 || dataAt < mapAt+4*blocks {
		return bad("its block map is at %d and its data at %d", mapAt, dataAt)
	}
	i.virtual = int64((virtual + 511) &^ 511)
	i.atEnd(func(size int64) error {
		return checkExtents(vdiMark, (size+511)&^511, extent{"header", 0, 512}, extent{"block map", mapAt, 4 * blocks},
			extent{"data", dataAt, allocated * vdiBlock})
	})
	return nil
}
