package guestfs

import (
	"encoding/binary"
	"errors"
	"io"
)

// Partition is a range of a disk, in bytes, and its number in the table as Linux counts; 0 is the whole disk.
type Partition struct {
	Start, Size int64
	Number      int
}

const (
	sector = 512
	// Bounds on what a hostile table makes us read.
	maxLogical = 64
	maxGPT     = 256
)

// Partitions reads the table of a disk: GPT, or MBR with its logical partitions. A disk without a table is one partition.
// Entries that do not fit the disk are passed over. Nothing in the table is trusted but its numbers, and those are bounded.
func Partitions(r io.ReaderAt, size int64) ([]Partition, error) {
	mbr := make([]byte, sector)
	if ok, err := read(r, mbr, 0); err != nil || !ok {
		return []Partition{{0, size, 0}}, err
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return []Partition{{0, size, 0}}, nil
	}
	for i := range 4 {
		if flag := mbr[446+16*i]; flag&0x7f != 0 {
			return []Partition{{0, size, 0}}, nil // code of a filesystem's boot sector, as Linux tells it from a table
		}
	}
	var found []Partition
	add := func(number int, start, length int64) {
		if p := (Partition{start * sector, length * sector, number}); start > 0 && length > 0 && p.Start < size && p.Size <= size-p.Start {
			found = append(found, p)
		}
	}
	for i := range 4 {
		kind, start, length := entry(mbr, i)
		switch kind {
		case 0:
		case 0xee:
			return gpt(r, size)
		case 0x05, 0x0f, 0x85:
			// A chain of tables: the first entry is a logical partition, the second leads to the next table, both relative.
			table, ebr := start, make([]byte, sector)
			for number := 5; number < 5+maxLogical; number++ {
				if ok, err := read(r, ebr, table*sector); err != nil {
					return nil, err
				} else if !ok || ebr[510] != 0x55 || ebr[511] != 0xaa {
					break
				}
				_, first, n := entry(ebr, 0)
				if first > 0 {
					add(number, table+first, n)
				}
				next, offset, _ := entry(ebr, 1)
				if next == 0 || offset == 0 {
					break
				}
				table = start + offset
			}
		default:
			add(i+1, start, length)
		}
	}
	if len(found) == 0 {
		return []Partition{{0, size, 0}}, nil // the boot sector of a filesystem
	}
	return found, nil
}

func entry(table []byte, i int) (kind byte, start, length int64) {
	e := table[446+16*i:]
	return e[4], int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
}

func gpt(r io.ReaderAt, size int64) ([]Partition, error) {
	header := make([]byte, sector)
	if ok, err := read(r, header, sector); err != nil || !ok || string(header[:8]) != "EFI PART" {
		return nil, err
	}
	le := binary.LittleEndian
	table, count, entrySize := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if table > uint64(size)/sector || entrySize < 128 || entrySize > 4096 {
		return nil, nil
	}
	var found []Partition
	e := make([]byte, 128)
	for i := range min(count, maxGPT) {
		ok, err := read(r, e, int64(table)*sector+int64(i)*int64(entrySize))
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if string(e[:16]) == string(make([]byte, 16)) || first == 0 || last < first || last >= uint64(size)/sector {
			continue
		}
		found = append(found, Partition{int64(first) * sector, int64(last-first+1) * sector, int(i) + 1})
	}
	return found, nil
}

// read fills b; ok is false where the disk ends before.
func read(r io.ReaderAt, b []byte, off int64) (ok bool, err error) {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return true, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return false, nil
	}
	return false, err
}
