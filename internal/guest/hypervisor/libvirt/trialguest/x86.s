# The guest of the trial (trial.go): it does what a kernel does while it starts, and says on the first serial port how far
# it came. The BIOS loads its first 512 bytes, which load the rest.
#
#   as --64 -o x86.o x86.s && ld -Ttext 0x7c00 --oformat binary -o x86.bin x86.o        (go generate ./internal/guest/hypervisor/libvirt)
#
# In order: protected mode; page tables of its own; long mode, at the addresses where Linux runs; timer interrupts taken
# from hlt and left by iretq; ring 3, entered by iretq; there a page fault that is mended, SSE, a timer interrupt on the
# stack that the TSS names, syscall and sysret; and back to ring 0 through a gate. What goes wrong on the way ends in a
# reset or in silence.

.set high,    0xffffffff80000000   # where Linux's kernel has its code: the last 2 GiB
.set sectors, 3                    # after the first

# Physical memory.
.set tss,     0x0600               # 104 bytes
.set pml4,    0x1000               # page tables, 4 KiB each
.set pdpt,    0x2000
.set pd,      0x3000
.set pt,      0x4000               # of the first 2 MiB, for ring 0 alone
.set upt,     0x5000               # of user, for ring 3
.set idt,     0x6000
.set stack,   0x7c00               # downwards
.set ucode,   0x9000
.set ustack,  0xa000

.set user,    0x400000             # ring 3's addresses: a page of code, then its stack

# Bits of page table entries, and selectors. Those of ring 3 lie as sysret counts them.
.set present, 1
.set write,   2
.set all,     4                    # ring 3, too
.set kcode,   0x08
.set kdata,   0x10
.set code32,  0x18
.set udata,   0x20 | 3
.set ucode64, 0x28 | 3
.set task,    0x30

	.text
	.code16
	.globl _start
_start:
	ljmp	$0, $1f
1:	cli
	cld
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$stack, %sp
	mov	$0x42, %ah             # int 13h, extended read; dl still says from which drive
	mov	$packet, %si
	int	$0x13
	jc	.                      # the disk cannot be read
	lgdt	gdtr
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmp	$code32, $protected

	.balign	4
packet:	.word	16, sectors, rest, 0   # size, count, where to; from sector 1
	.quad	1

	.balign	8
gdt:	.quad	0
	.quad	0x00af9b000000ffff     # kcode: 64 bits, ring 0
	.quad	0x00cf93000000ffff     # kdata
	.quad	0x00cf9b000000ffff     # code32: on the way
	.quad	0x00cff3000000ffff     # udata
	.quad	0x00affb000000ffff     # ucode64
	.quad	0x8000890000000067 | tss << 16   # task: the TSS at high + tss
	.quad	high >> 32
	.set	gdtsize, . - gdt
gdtr:	.word	gdtsize - 1
	.quad	gdt

	.org	510
	.word	0xaa55
rest:
	.code32
protected:
	mov	$kdata, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax             # nothing below the stack is anything yet
	mov	$tss, %edi
	mov	$(0x7000 - tss) / 4, %ecx
	rep	stosl
	movl	$pdpt + present + write + all, pml4
	movl	$pdpt + present + write, pml4 + 511*8
	movl	$pd + present + write + all, pdpt
	movl	$pd + present + write, pdpt + 510*8
	movl	$pt + present + write, pd
	movl	$upt + present + write + all, pd + user/0x200000*8
	movl	$ucode + present + all, upt       # its stack comes with the page fault
	mov	$pt, %edi
	mov	$present + write, %eax
1:	mov	%eax, (%edi)
	add	$0x1000, %eax
	add	$8, %edi
	cmp	$0x200000, %eax
	jb	1b
	mov	$0x620, %eax           # CR4: PAE, OSFXSR, OSXMMEXCPT
	mov	%eax, %cr4
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx      # EFER: LME, SCE
	rdmsr
	or	$0x101, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80010002, %eax      # CR0: PG, WP, MP
	and	$0xfffffffb, %eax      # not EM
	mov	%eax, %cr0
	ljmp	$kcode, $1f
	.code64
1:	movabs	$high + long, %rax
	jmp	*%rax

long:
	mov	$high + stack, %rsp
	mov	$high + gdt, %rax
	mov	%rax, gdtr + 2(%rip)
	lgdt	gdtr(%rip)
	lea	said_long(%rip), %rsi
	call	say

	# Gates: 14 page fault, 32 timer, 128 from ring 3.
	lea	fault(%rip), %rax
	mov	$14, %edi
	mov	$0x8e00, %edx
	call	gate
	lea	timer(%rip), %rax
	mov	$32, %edi
	mov	$0x8e00, %edx
	call	gate
	lea	finish(%rip), %rax
	mov	$128, %edi
	mov	$0xee00, %edx
	call	gate
	lidt	idtr(%rip)
	mov	$high + stack, %rax
	mov	%rax, high + tss + 4   # RSP0
	mov	$task, %eax
	ltr	%ax

	# The timer: 8259s at vectors 32 and 40, 8254 at 1000 Hz.
	lea	ports(%rip), %rsi
1:	movzbl	(%rsi), %edx
	test	%edx, %edx
	jz	2f
	mov	1(%rsi), %al
	out	%al, %dx
	add	$2, %rsi
	jmp	1b
2:	sti
3:	hlt
	cmpl	$3, ticks(%rip)
	jb	3b
	cli
	lea	said_interrupt(%rip), %rsi
	call	say

	mov	$0xc0000081, %ecx      # STAR: selectors of syscall and sysret
	xor	%eax, %eax
	mov	$code32 << 16 | 3 << 16 | kcode, %edx
	wrmsr
	inc	%ecx                   # LSTAR: where syscall goes
	lea	call(%rip), %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	wrmsr
	add	$2, %ecx               # SFMASK: without interrupts
	mov	$0x200, %eax
	xor	%edx, %edx
	wrmsr
	lea	ring3(%rip), %rsi
	mov	$high + ucode, %rdi
	mov	$ring3size, %ecx
	rep	movsb
	push	$udata
	push	$user + 0x2000
	push	$0x202                 # RFLAGS: interrupts
	push	$ucode64
	push	$user
	iretq

# What runs in ring 3, at user. Its first push faults.
ring3:	push	$21
1:	syscall                        # how often did the timer come while this ran?
	cmp	$3, %eax
	jb	1b
	pop	%rax
	movd	%eax, %xmm0
	paddd	%xmm0, %xmm0
	movd	%xmm0, %eax
	int	$128
	.set	ring3size, . - ring3

# syscall: no stack is needed.
call:	mov	ticks3(%rip), %eax
	sysretq

timer:	push	%rax
	mov	$0x20, %al
	out	%al, $0x20
	incl	ticks(%rip)
	testb	$3, 16(%rsp)           # CS: from which ring
	jz	1f
	incl	ticks3(%rip)
1:	pop	%rax
	iretq

# Gives ring 3 its stack; any other fault is too much.
fault:	push	%rax
	mov	%cr2, %rax
	cmp	$user + 0x1ff8, %rax
	jne	.
	movq	$ustack + present + write + all, high + upt + 8
	invlpg	(%rax)
	pop	%rax
	add	$8, %rsp               # the error code
	iretq

finish:	cmp	$42, %eax
	jne	.
	testb	$3, 8(%rsp)
	jz	.
	lea	said_passed(%rip), %rsi
	call	say
1:	hlt                            # interrupts are off: it waits for its end
	jmp	1b

# gate %edi goes to %rax, with the type %edx.
gate:	shl	$4, %edi
	mov	%ax, high + idt(%rdi)
	movw	$kcode, high + idt + 2(%rdi)
	mov	%dx, high + idt + 4(%rdi)
	shr	$16, %rax
	mov	%ax, high + idt + 6(%rdi)
	shr	$16, %rax
	mov	%eax, high + idt + 8(%rdi)
	ret

# say writes the text at %rsi.
say:	mov	$0x3fd, %edx
1:	in	%dx, %al
	test	$0x20, %al             # it takes another byte
	jz	1b
	lodsb
	test	%al, %al
	jz	2f
	mov	$0x3f8, %edx
	out	%al, %dx
	jmp	say
2:	ret

# Ports and what they are given, up to a 0.
ports:	.byte	0x20, 0x11, 0xa0, 0x11, 0x21, 32, 0xa1, 40, 0x21, 4, 0xa1, 2, 0x21, 1, 0xa1, 1, 0x21, 0xfe, 0xa1, 0xff
	.byte	0x43, 0x34, 0x40, 1193 & 255, 0x40, 1193 >> 8, 0

# trial.go knows these texts.
said_long:	.asciz	"\r\nslipway-trial: long mode\r\n"
said_interrupt:	.asciz	"slipway-trial: interrupts\r\n"
said_passed:	.asciz	"slipway-trial: passed\r\n"

	.balign	8
idtr:	.word	129*16 - 1
	.quad	high + idt
ticks:	.long	0
ticks3:	.long	0

	.org	(sectors + 1) * 512
