-- Runs every *_test.lua with every editor it is for, and counts.
-- usage: nvim -l run.lua NVIM_0.12 NVIM_0.10 [PATTERN]

local here = vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':p:h')
package.path = here .. '/?.lua;' .. package.path
local harness = require('harness')

local root = vim.fs.normalize(vim.fn.fnamemodify(here, ':p') .. '/../../..')
local plugin = vim.fn.resolve(root .. '/editors/neovim')
local setups = {
  { name = '0.12 plugin', nvim = arg[1], plugin = plugin, tags = { plugin = true } },
  { name = '0.10 plugin', nvim = arg[2], plugin = plugin, tags = { plugin = true } },
  { name = '0.12 core', nvim = arg[1], tags = { core = true } },
  { name = '0.12 plugin+core', nvim = arg[1], plugin = plugin, tags = { plugin_core = true } },
}
local pattern = arg[3] or ''

local started = vim.uv.hrtime()
local passed, failed = 0, {}
for _, file in ipairs(vim.fn.sort(vim.fn.glob(here .. '/*_test.lua', true, true))) do
  for _, test in ipairs(dofile(file)) do
    for _, setup in ipairs(setups) do
      local name = ('%s: %s'):format(setup.name, test.name)
      local wanted = false
      for _, tag in ipairs(test.with) do
        wanted = wanted or setup.tags[tag]
      end
      if wanted and name:find(pattern) then
        local begun = vim.uv.hrtime()
        local ok, message = harness.run(setup, test)
        local seconds = (vim.uv.hrtime() - begun) / 1e9
        if ok then
          passed = passed + 1
          io.write(('ok   %s (%.1f s)\n'):format(name, seconds))
        else
          failed[#failed + 1] = name
          io.write(('FAIL %s (%.1f s)\n%s\n'):format(name, seconds, tostring(message)))
        end
        io.flush()
      end
    end
  end
end

local seconds = (vim.uv.hrtime() - started) / 1e9
io.write(('neovim: %d passed, %d failed in %.0f s\n'):format(passed, #failed, seconds))
if passed + #failed == 0 then
  io.write('no test matches ' .. pattern .. '\n')
end
os.exit(passed > 0 and #failed == 0 and 0 or 1)
