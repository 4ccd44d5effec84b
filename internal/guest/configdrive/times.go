package configdrive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Where things stand on an ISO 9660 disc (ECMA-119), in its volume descriptors and in its directories' records.
const (
	sector          = 2048
	descriptors     = 16 // the first one's sector
	rootRecord      = 156
	volumeCreated   = 813
	volumeModified  = 830
	volumeEffective = 864

	recordExtent = 2
	recordSize   = 10
	recordTime   = 18
	recordFlags  = 25
	recordName   = 33 // the byte before is its length
	flagFolder   = 2
)

// setTimes makes `made` of each time on a disc: genisoimage writes when it ran, and when files were changed last (Rock Ridge's TF),
// which nobody can choose.
func setTimes(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = eachVolume(f)
	if err != nil {
		err = fmt.Errorf("setting the times on %s: %w", path, err)
	}
	return errors.Join(err, f.Close())
}

// eachVolume goes through the volume's descriptors: the primary one, and Joliet's.
func eachVolume(f *os.File) error {
	for at := int64(descriptors); ; at++ {
		d := make([]byte, sector)
		if _, err := f.ReadAt(d, at*sector); err != nil {
			return err
		}
		switch d[0] {
		case 255:
			return nil
		case 1, 2:
			for _, field := range []int{volumeCreated, volumeModified, volumeEffective} {
				copy(d[field:], made.Format("2006010215040500")+"\x00")
			}
			root := d[rootRecord:]
			setTime(root[recordTime:])
			if _, err := f.WriteAt(d, at*sector); err != nil {
				return err
			}
			if err := setTimesIn(f, root); err != nil {
				return err
			}
		}
	}
}

// setTimesIn does it to a folder's records, and to the folders below. The record is the folder's own.
func setTimesIn(f *os.File, folder []byte) error {
	records := make([]byte, binary.LittleEndian.Uint32(folder[recordSize:]))
	at := int64(binary.LittleEndian.Uint32(folder[recordExtent:])) * sector
	if _, err := f.ReadAt(records, at); err != nil {
		return err
	}
	for i := 0; i < len(records); {
		n := int(records[i])
		if n == 0 { // none goes over the end of a sector
			i = (i/sector + 1) * sector
			continue
		}
		if n <= recordName || i+n > len(records) {
			return io.ErrUnexpectedEOF
		}
		r := records[i : i+n]
		i += n
		setTime(r[recordTime:])
		name := int(r[recordName-1])
		setRockRidge(r[min(recordName+(name|1), n):])
		self := name == 1 && r[recordName] <= 1 // the folder itself, or the one above
		if r[recordFlags]&flagFolder != 0 && !self {
			if err := setTimesIn(f, r); err != nil {
				return err
			}
		}
	}
	_, err := f.WriteAt(records, at)
	return err
}

// setRockRidge does it to what Rock Ridge has behind a record's name: fields of two letters, a length and a version. TF has flags and
// as many times.
func setRockRidge(fields []byte) {
	for len(fields) >= 5 && int(fields[2]) >= 5 && int(fields[2]) <= len(fields) {
		field := fields[:fields[2]]
		if string(field[:2]) == "TF" {
			for times := field[5:]; len(times) >= 7; times = times[7:] {
				setTime(times)
			}
		}
		fields = fields[len(field):]
	}
}

// setTime writes the seven bytes of a record: the years since 1900, the month, and so on, and the zone.
func setTime(to []byte) {
	copy(to, []byte{byte(made.Year() - 1900), byte(made.Month()), byte(made.Day()), byte(made.Hour()), byte(made.Minute()), byte(made.Second()), 0})
}
