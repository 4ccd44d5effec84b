package imageprops

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAnImageSaysHowItsDiskRescuesAServer(t *testing.T) {
	for _, c := range []struct {
		properties map[string]string
		want       Rescue
	}{
		{properties("hw_disk_bus", "scsi", "kernel_id", "k"), Rescue{}},
		{properties("hw_rescue_device", "disk"), Rescue{true, "disk", "virtio"}},
		{properties("hw_rescue_device", "Disk", "hw_disk_bus", "sata"), Rescue{true, "disk", "sata"}},
		{properties("hw_rescue_bus", "USB", "hw_disk_bus", "sata"), Rescue{true, "disk", "usb"}},
		{properties("hw_rescue_device", "cdrom"), Rescue{true, "cdrom", ""}},
		{properties("hw_rescue_device", "cdrom", "hw_cdrom_bus", "scsi"), Rescue{true, "cdrom", "scsi"}},
		{properties("hw_rescue_device", "cdrom", "hw_rescue_bus", "ide"), Rescue{true, "cdrom", "ide"}},
	} {
		got, err := RescueBy(c.properties)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
		_, err = Parse(c.properties, nil)
		require.NoError(t, err, "it boots too")
	}
}

func TestARescueThatIsNotOfferedIsRefusedInNovasWords(t *testing.T) {
	for text, p := range map[string]map[string]string{
		"Requested rescue device 'floppy' is not supported": properties("hw_rescue_device", "floppy"),
		"Requested rescue device 'tape' is not supported":   properties("hw_rescue_device", "tape"),
		"Requested rescue bus 'fdc' is not supported":       properties("hw_rescue_bus", "fdc"),
		"Requested rescue bus 'virtio' is not supported":    properties("hw_rescue_device", "cdrom", "hw_rescue_bus", "virtio"),
		"without kernel_id": properties("hw_rescue_bus", "usb", "kernel_id", "k"),
	} {
		_, err := RescueBy(p)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
		require.Contains(t, fault.Public(err), text)
	}
}
