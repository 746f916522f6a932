module crossfadekeys

go 1.21
