package host

import (
	"context"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
)

// ReceiveDisks fetches the disks that another host offers into the folder of the guest that follows. It goes on where it was; all of them are whole
// and verified when it is done, and the root disk leans on this host's copy of its image.
func (a *Activities) ReceiveDisks(ctx context.Context, in contract.ReceiveDisksInput) error {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	var base disk.Base
	root := rootOf(in.Offer)
	if root.Backed {
		defer a.o.Cache.Pin(in.Disk.Image.SHA512)()
		if base, err = a.o.Cache.Inspect(in.Disk.Image); err != nil {
			return err
		}
	}
	most := max(int64(in.Disk.RootGiB)*gib, base.VirtualBytes, in.Disk.Image.VirtualBytes)
	if err := fits(in, most); err != nil {
		return err
	}
	beat := startHeart(ctx, contract.TransferProgress{Total: in.Offer.Total})
	defer beat.stop()
	return a.o.Receiver.Receive(ctx, filepath.Join(dir, nextName), transfer.Arrival{
		ServerID: in.ServerID, MoveID: in.MoveID, From: in.From, Offer: in.Offer,
		Progress: func(done, total int64) { beat.set(contract.TransferProgress{Bytes: done, Total: total}) },
		Settle: func(ctx context.Context, name, path string) error {
			if name != disk.RootName {
				return nil
			}
			return a.disks.Adopt(ctx, path, base, most)
		},
	})
}

func rootOf(o contract.DiskOffer) (root contract.OfferedFile) {
	for _, f := range o.Files {
		if f.Name == disk.RootName {
			root = f
		}
	}
	return root
}

// fits refuses what the server's disks were not made as: the host that offers them may be in other hands. most is how large its root
// disk may be.
func fits(in contract.ReceiveDisksInput, most int64) error {
	// A qcow2 may have grown beyond what it shows, by its tables and what was given back in it.
	largest := map[string]int64{disk.RootName: 2*most + gib}
	ephemerals := 0
	for _, d := range contract.BlockDevices(in.Disk.BlockDevices, contract.Flavor{EphemeralGiB: in.Disk.EphemeralGiB}) {
		if d.Role == contract.EphemeralDisk {
			largest[disk.EphemeralName(ephemerals)] = int64(d.MiB) * mib
			ephemerals++
		}
	}
	for _, f := range in.Offer.Files {
		if n, ok := largest[f.Name]; !ok || f.Bytes > n {
			return fault.New(fault.HostUnfit, "Host %s offers %q of %d bytes as a disk of instance %s, which has none of that name and size.",
				in.From, f.Name, f.Bytes, in.ServerID).NotTheHosts()
		}
	}
	if rootOf(in.Offer).Name == "" {
		return fault.New(fault.HostUnfit, "Host %s offers no root disk of instance %s.", in.From, in.ServerID).NotTheHosts()
	}
	return nil
}

// DiscardReceived removes what has come of a server from another host, whole or not, and has not become its guest.
func (a *Activities) DiscardReceived(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if err := a.drop(filepath.Join(dir, nextName)); err != nil {
		return err
	}
	return tidy(dir)
}
